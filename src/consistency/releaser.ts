import type { ProcessIdentity } from '../linux/processes.ts';
import { isReady, startScript } from './script.ts';

/** What the process that thaws is told, each before it is done. */
export interface Frozen {
  /** After which it thaws. */
  readonly milliseconds?: number;
  /** The cgroup that it has a descriptor of. */
  readonly cgroup?: boolean;
  readonly processes?: readonly ProcessIdentity[];
  /** All goes on. */
  readonly done?: boolean;
}

/** Disposing of it without having said that all goes on has everything thawed. */
export interface Releaser extends Disposable {
  /** Returns when it is certain to be heard, whatever happens to us. */
  tell(frozen: Frozen): Promise<void>;
}

/**
 * Starts a process that thaws processes after a time, or as soon as we have ended, whatever ends us. It is there when this returns.
 * @param lock the descriptor of the lock by which those who freeze take turns
 * @param cgroup its descriptor
 * @throws CoppiceError io_error
 */
export async function startReleaser(lock: number, cgroup?: number): Promise<Releaser> {
  const script = startScript('release-watchdog', [], cgroup === undefined ? [lock] : [lock, cgroup]);
  const { child } = script;
  await isReady(script, 'processes');
  child.stdout?.destroy();
  child.unref();
  return {
    tell: (frozen) =>
      new Promise((resolve, reject) => {
        if (!child.stdin) return reject(new Error('there is no pipe'));
        child.stdin.write(`${JSON.stringify(frozen)}\n`, (error) => (error ? reject(error) : resolve()));
      }),
    [Symbol.dispose]: () => void child.stdin?.end(),
  };
}
