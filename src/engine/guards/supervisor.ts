import { isReady, startScript } from '../../consistency/script.ts';
import type { Pool } from '../pool.ts';

/** What the process outside is told first. */
export interface SupervisorPlan {
  readonly pool: string;
  readonly volume: string;
  /** Of the guard. */
  readonly id: string;
  readonly auditLog?: string;
}

/** A process outside of the one that tries a change, which undoes that if the other dies. */
export interface Supervisor {
  /** The change has ended, in whichever way, and nothing is left to do. */
  dismiss(): void;
  /** Has it undo the change as soon as nothing has the volume open, also after this process has ended. */
  undo(): void;
  /** A process to end before the change is undone, with all that it has started. It is certain to be heard when this returns. */
  watch(pid: number): Promise<void>;
}

/** @throws CoppiceError io_error when it can't be started */
export async function startSupervisor(pool: Pool, volume: string, id: string): Promise<Supervisor> {
  const plan: SupervisorPlan = { pool: pool.path, volume, id };
  const script = startScript('guard-supervisor', [JSON.stringify(plan)], [], import.meta.url);
  const { child } = script;
  await isReady(script, 'nothing');
  child.stdout?.destroy();
  child.unref();
  return {
    dismiss: () => void child.stdin?.end('done\n'),
    undo: () => void child.stdin?.end('undo\n'),
    watch: (pid) =>
      new Promise((resolve, reject) => {
        if (!child.stdin) return reject(new Error('there is no pipe'));
        // What is only on its way there dies with us.
        child.stdin.write(`runs ${pid}\n`, (error) => (error ? reject(error) : resolve()));
      }),
  };
}
