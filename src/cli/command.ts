import { printable, printableLines } from '../model/printable.ts';
import type { CliContext } from './context.ts';
import { showFailure } from './failure.ts';

/** Wraps what a command does: its failure becomes a sentence, or JSON where that was asked for, and an exit code. */
export function reporting<F extends { readonly json?: boolean }, A extends readonly unknown[]>(
  run: (context: CliContext, flags: F, ...args: A) => Promise<void>,
): (this: CliContext, flags: F, ...args: A) => Promise<undefined | Error> {
  return async function (this: CliContext, flags: F, ...args: A): Promise<undefined | Error> {
    try {
      await run(this, flags, ...args);
      return undefined;
    } catch (error) {
      return showFailure(error, flags.json ?? false);
    }
  };
}

/** Prints a result: as JSON, or as a person reads it. */
export function print(
  context: CliContext,
  flags: { readonly json: boolean },
  result: unknown,
  text: () => string,
): void {
  const { stdout } = context.process;
  const output = flags.json ? JSON.stringify(result, null, 2) : text();
  // A program that reads a path needs it as it is.
  if (output !== '') stdout.write(`${stdout.isTTY ? printableLines(output) : output}\n`);
}

/** Says something beside the result, which never mixes with it. */
export function note(context: CliContext, text: string): void {
  context.process.stderr.write(`${printable(text)}\n`);
}
