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
  const output = flags.json ? JSON.stringify(result, null, 2) : text();
  if (output !== '') context.process.stdout.write(`${output}\n`);
}

/** Tells what was changed behind Coppice's back in something that was used all the same; each only once. */
export function warn(
  context: CliContext,
  results: ReadonlyArray<{ readonly warnings?: readonly string[] }>,
): void {
  for (const warning of new Set(results.flatMap((result) => result.warnings ?? [])))
    note(context, `coppice: warning: ${warning}`);
}

/** Says something beside the result, which never mixes with it. */
export function note(context: CliContext, text: string): void {
  context.process.stderr.write(`${text}\n`);
}
