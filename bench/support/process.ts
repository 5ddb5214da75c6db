import { runProgram } from '../../src/linux/programs.ts';
import { time } from './measure.ts';

const runs = 5;

/**
 * Milliseconds of one process: several are run from a shell, which starts them faster than this process could. In the command `$1`
 * is this Node, the arguments follow, and `$i` counts.
 */
export async function timeOfProcess(command: string, args: readonly string[]): Promise<number> {
  const script = `for i in $(seq ${runs}); do ${command} >/dev/null || exit 1; done`;
  return (await time(() => runProgram('sh', ['-c', script, 'sh', process.execPath, ...args]))) / runs;
}
