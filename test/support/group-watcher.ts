import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Watched } from './group-watcher-process.ts';

export interface GroupWatcher extends AsyncDisposable {
  /** From now on looks at these volumes, which are there; returns when it has seen all of them. */
  follows(volumes: readonly string[]): Promise<void>;
  /** How often it has looked, and where it has seen some of the volumes, or of their snapshots, and not all. */
  stop(): Promise<Watched>;
}

/** Another process that lists a pool all the time. */
export async function watchGroups(path: string): Promise<GroupWatcher> {
  const child = fork(fileURLToPath(new URL('./group-watcher-process.ts', import.meta.url)), [path]);
  await once(child, 'message');
  return {
    async follows(volumes) {
      const seen = once(child, 'message');
      child.send(volumes);
      await seen;
    },
    async stop() {
      const answer = once(child, 'message');
      child.send('stop');
      return (await answer)[0] as Watched;
    },
    async [Symbol.asyncDispose]() {
      const ended = child.exitCode === null ? once(child, 'exit') : undefined;
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}
