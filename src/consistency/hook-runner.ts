import { type ChildProcess, spawn } from 'node:child_process';
import type { HookPlan, HookReport } from './hook-process.ts';

/**
 * A process of its own that runs a hook: `PROGRAM pre` when it is told, and then in any case `PROGRAM post`, once: when it is told,
 * when the time is over, or when who has told it has died, by whatever. So that both never run at once, `post` waits until `pre` has ended
 * or was killed.
 * Usage: hook-runner PLAN, with a standard input that ends when the other dies; it answers in lines of JSON
 */

const plan = JSON.parse(process.argv[2] ?? '') as HookPlan;

/** Milliseconds that a program has to end by itself when it is told to, and that are waited for one that can't be killed. */
const [grace, patience] = [1_000, 5_000];

/** Characters of what a program says that are kept. */
const mostOutput = 400;

let pre: { readonly child: ChildProcess; readonly ended: Promise<void> } | undefined;
let isLast = false;

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => post('unasked'));
process.stdin.on('data', (chunk) => {
  for (const word of String(chunk).trim().split('\n')) word === 'pre' ? begin() : post('asked');
});
process.stdin.on('error', () => post('unasked'));
process.stdin.on('close', () => post('unasked'));
process.stdout.on('error', () => undefined);
say({ phase: 'ready' });

function begin(): void {
  const { child, report } = run('pre');
  const ended = report.then((each) => {
    say(each);
    setTimeout(() => post('unasked'), plan.milliseconds);
  });
  pre = { child, ended };
}

function post(by: 'asked' | 'unasked'): void {
  if (isLast) return;
  isLast = true;
  void finish(by).finally(() => process.exit(0));
}

async function finish(by: 'asked' | 'unasked'): Promise<void> {
  if (!pre && !plan.isStarted) return;
  if (pre) {
    terminate(pre.child);
    await pre.ended;
  }
  const report = await run('post').report;
  say({ ...report, isUnasked: by === 'unasked' });
}

interface Run {
  readonly child: ChildProcess;
  readonly report: Promise<HookReport>;
}

function run(phase: 'pre' | 'post'): Run {
  const child = spawn(plan.program, plan.words[phase], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...plan.environment, COPPICE_PHASE: phase },
    cwd: '/',
    detached: true, // a group of its own, which can be ended as a whole
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString('latin1').replace(/[^\x20-\x7e]+/g, ' ')).slice(-mostOutput);
    });
  const limit = setTimeout(() => terminate(child), plan.milliseconds);
  return {
    child,
    report: new Promise((resolve) => {
      const end = (why: string | undefined): void => {
        clearTimeout(limit);
        // What it has left running may keep its output open; what came until now is enough.
        setTimeout(() => {
          child.stdout?.destroy();
          child.stderr?.destroy();
          resolve({ phase, output: output.trim(), ...(why !== undefined && { why }) });
        }, 20);
      };
      child.on('error', (error) => end(`could not be started (${error.message})`));
      child.on('exit', (code, signal) => end(whyFailed(child, code, signal)));
      terminated.set(child, () => end('was killed, and has not ended yet'));
    }),
  };
}

const terminated = new Map<ChildProcess, () => void>();
const ending = new Set<ChildProcess>();

function whyFailed(child: ChildProcess, code: number | null, signal: string | null): string | undefined {
  terminated.delete(child);
  if (ending.has(child)) {
    kill(child, 'SIGKILL'); // others of its group that have not heard
    return 'took too long, and was ended';
  }
  if (code === 0) return undefined;
  return signal === null ? `failed with exit code ${code}` : `was killed by ${signal}`;
}

function terminate(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null || ending.has(child)) return;
  ending.add(child);
  kill(child, 'SIGTERM');
  setTimeout(() => {
    if (child.exitCode === null && child.signalCode === null) kill(child, 'SIGKILL');
  }, grace);
  setTimeout(() => terminated.get(child)?.(), grace + patience);
}

function kill({ pid }: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // All of the group has ended.
  }
}

function say(report: HookReport): void {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
