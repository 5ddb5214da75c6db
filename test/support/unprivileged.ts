import { writeFileSync } from 'node:fs';
import { createPool, destroyPool, growPool, openPool, type Pool, persistPool } from '../../src/index.ts';
import { observeCalls } from '../../src/linux/system-calls.ts';

/**
 * A process that loads the library as root (as one bundle: the checkout may be out of reach afterwards), gives up all rights for good, and then does what standard input says: a list of calls.
 * Prints one line of JSON for each: its result, or its error. UID PATH [STEP]: with a step, it dies before that system call of
 * the last.
 */

export type Call = readonly [name: string, ...args: unknown[]];

/** What lies beside the methods of a pool. */
const functions: Readonly<Record<string, (...args: never[]) => unknown>> = {
  createPool,
  destroyPool,
  growPool,
  persistPool,
  writeTo: (path: string) => writeFileSync(path, 'x', { flag: 'r+' }),
};

const [uid = '', path = '', step] = process.argv.slice(2);
process.setgroups?.([]);
process.setgid?.(Number(uid));
process.setuid?.(Number(uid));

let input = '';
for await (const chunk of process.stdin) input += chunk;
let pool: Pool | undefined;
let count = 0;
const calls = JSON.parse(input) as Call[];
for (const [index, [name, ...args]] of calls.entries()) {
  if (step !== undefined && index === calls.length - 1) observeCalls(dieAtStep);
  console.log(JSON.stringify(await perform(name, args)));
}
await pool?.close();

function dieAtStep(): undefined {
  if (++count === Number(step)) process.kill(process.pid, 'SIGKILL');
}

async function perform(name: string, args: readonly unknown[]): Promise<unknown> {
  try {
    const run = functions[name];
    if (run) return { result: (await run(...(args as never[]))) ?? null };
    pool ??= await openPool(path, { inline: true });
    const method = Reflect.get(pool, name) as (...given: readonly unknown[]) => unknown;
    return { result: (await method.apply(pool, [...args])) ?? null };
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    return { error: { code, message } };
  }
}
