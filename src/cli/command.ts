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

/** Tells what was changed behind Coppice's back in something that was used all the same; each only once. */
export function warn(
  context: CliContext,
  results: ReadonlyArray<{ readonly warnings?: readonly string[] }>,
): void {
  for (const warning of new Set(results.flatMap((result) => result.warnings ?? [])))
    note(context, `coppice: warning: ${warning}`);
}

/** The same for a list; where that is empty, a person is told what to do, and a program finds nothing. */
export function printList<T>(
  context: CliContext,
  flags: { readonly json: boolean },
  {
    result,
    rows,
    nothing,
  }: { readonly result: unknown; readonly rows: readonly T[]; readonly nothing: string },
  text: (rows: readonly T[]) => string,
): void {
  print(context, flags, result, () => (rows.length === 0 ? '' : text(rows)));
  if (rows.length === 0 && !flags.json) note(context, `coppice: ${nothing}`);
}

export const nothingYet =
  'Nothing here yet; "coppice import NAME SOURCE" makes a template from a disk image.';

/** Says something beside the result, which never mixes with it. */
export function note(context: CliContext, text: string): void {
  context.process.stderr.write(`${printable(text)}\n`);
}
