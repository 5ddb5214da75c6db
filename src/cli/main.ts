import type { StricliProcess } from '@stricli/core';
import { version } from '../model/version.ts';
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

// Asked for by scripts again and again, and known without any command: those are in a file of their own, which takes time to read.
const args = process.argv.slice(2);
if (args.length === 1 && args[0] === '--version') process.stdout.write(`${version}\n`);
else
  await (await import('./command-line.ts')).runCommandLine(process as StricliProcess & NodeJS.Process, args);
