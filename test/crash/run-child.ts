import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { bundle } from '../support/bundle.ts';
import type { ChildMessage, ChildRequest } from './child.ts';

/** What became of a child: it died at its step, or it did what it should, and then says in which steps. */
export interface Outcome {
  readonly died: boolean;
  readonly result: unknown;
  readonly steps: readonly string[];
  /** Those of them that may change something that outlives the process, counted from 1. */
  readonly changing: readonly number[];
}

function childFile(): string {
  return join(bundle('child', { child: 'test/crash/child.ts', worker: 'src/engine/worker.ts' }), 'child.js');
}

/** Runs a child to its end. */
export async function runChild(request: ChildRequest, environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return finished(startChild(request, environment));
}

export async function finished(child: RunningChild): Promise<Outcome> {
  for await (const _message of child.messages());
  return child.outcome();
}

export interface RunningChild {
  readonly process: ChildProcess;
  /** What it says, until it ends. */
  messages(): AsyncIterable<ChildMessage>;
  /** After its end; @throws when the operation failed. */
  outcome(): Promise<Outcome>;
}

export function startChild(request: ChildRequest, environment: NodeJS.ProcessEnv = {}): RunningChild {
  const child = spawn(process.execPath, [childFile(), JSON.stringify(request)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (_code, signal) => resolve(signal));
  });
  let [errors, last]: [string, ChildMessage | undefined] = ['', undefined];
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout ?? process.stdin });
  return {
    process: child,
    async *messages() {
      for await (const line of lines) {
        last = JSON.parse(line) as ChildMessage;
        yield last;
      }
    },
    async outcome() {
      const signal = await ended;
      if (signal === 'SIGKILL') return { died: true, result: undefined, steps: [], changing: [] };
      if (last && 'result' in last) {
        const { result, steps, changing } = last;
        return { died: false, result, steps, changing };
      }
      const failure = last && 'error' in last ? last.error : undefined;
      throw new Error(
        `The child failed: ${failure?.code ?? signal ?? ''} ${failure?.stack ?? ''} ${errors}`.trim(),
      );
    },
  };
}
