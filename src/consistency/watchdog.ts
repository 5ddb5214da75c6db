import type { Socket } from 'node:net';
import { isReady, startScript } from './script.ts';

export type ThawOutcome = 'thawed' | 'unknown' | 'still trying';

export interface Watchdog {
  /** The guest is thawed, and needs it no more. */
  dismiss(): void;
  /**
   * Has it thaw the guest now.
   * @param patience milliseconds to wait for the agent to say so; after that it goes on alone
   */
  thaw(patience: number): Promise<ThawOutcome>;
}

/**
 * Starts a process that thaws a guest after a time, or as soon as we have ended, whatever ends us. It is there when this returns.
 * @param agent the connection, which it gets too
 * @throws CoppiceError io_error
 */
export async function startWatchdog(agent: Socket, milliseconds: number): Promise<Watchdog> {
  const script = startScript('thaw-watchdog', [String(milliseconds)], [agent]);
  const { child, ended } = script;
  // Node stops reading what it gives to a child; the answers are still for us.
  agent.resume();
  await isReady(script, 'the guest');
  child.stdout?.destroy();
  child.unref();
  return {
    dismiss: () => void child.stdin?.end('all is well\n'),
    async thaw(patience) {
      child.stdin?.end();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<'late'>((resolve) => {
        timer = setTimeout(resolve, patience, 'late');
      });
      const code = await Promise.race([ended, late]);
      clearTimeout(timer);
      return code === 0 ? 'thawed' : code === 'late' ? 'still trying' : 'unknown';
    },
  };
}
