import { run, type StricliProcess } from '@stricli/core';
import { makeApplication } from './application.ts';
import { exitCodes } from './failure.ts';

// Older ones start us, and then fail in the middle of something.
if (Number.parseInt(process.versions.node, 10) < 24) {
  process.stderr.write(`coppice: Node 24 or newer is needed, and this is ${process.versions.node}.\n`);
  process.exit(exitCodes.internal);
}

// `coppice list | head` closes our output early; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`coppice: The result could not be written: ${error.message}.\n`);
  process.exit(exitCodes.io_error);
});

const args = leadingFlagsLast(process.argv.slice(2));
await run(makeApplication(asksForJson(args)), args, {
  process: process as StricliProcess & NodeJS.Process,
});

// The framework marks what it found wrong with the command line by negative numbers.
const code = Number(process.exitCode ?? 0);
if (code < 0) process.exitCode = exitCodes.usage;

function asksForJson(args: readonly string[]): boolean {
  const separator = args.indexOf('--');
  return args.slice(0, separator < 0 ? args.length : separator).includes('--json');
}

/** Flags of the command are also taken before it, as in `coppice --pool PATH list`. */
function leadingFlagsLast(args: readonly string[]): string[] {
  let leading = 0;
  while (args[leading] === '--json' || args[leading] === '--pool' || args[leading]?.startsWith('--pool=')) {
    leading += args[leading] === '--pool' ? 2 : 1;
  }
  const rest = args.slice(leading);
  const separator = rest.indexOf('--');
  const end = separator < 0 ? rest.length : separator;
  return [...rest.slice(0, end), ...args.slice(0, leading), ...rest.slice(end)];
}
