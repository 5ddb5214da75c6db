import { run, type StricliProcess } from '@stricli/core';
import { makeApplication } from './application.ts';
import { exitCodes } from './failure.ts';
import { leadingFlags } from './leading-flags.ts';

/** Runs the command that the words name, and leaves its exit code with the process. */
export async function runCommandLine(
  process: StricliProcess & NodeJS.Process,
  words: readonly string[],
): Promise<void> {
  if (words[0] === '__complete') {
    const { answerCompletion } = await import('./completion/answer.ts');
    return await answerCompletion(makeApplication(false), process, words.slice(1));
  }
  const args = leadingFlagsLast(words);
  await run(makeApplication(asksForJson(args)), args, { process });
  // The framework marks what it found wrong with the command line by negative numbers.
  if (Number(process.exitCode ?? 0) < 0) process.exitCode = exitCodes.usage;
}

function asksForJson(args: readonly string[]): boolean {
  return beforeSeparator(args).includes('--json');
}

/** Flags of the command are also taken before it, as in `coppice --pool PATH list`. */
function leadingFlagsLast(words: readonly string[]): string[] {
  const leading = leadingFlags(words);
  const rest = words.slice(leading.length);
  const front = beforeSeparator(rest);
  return [...front, ...leading, ...rest.slice(front.length)];
}

function beforeSeparator(words: readonly string[]): readonly string[] {
  const separator = words.indexOf('--');
  return words.slice(0, separator < 0 ? words.length : separator);
}
