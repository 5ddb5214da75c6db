import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Holder extends AsyncDisposable {
  readonly pid: number;
}

/** Another process that has a file open until it is disposed of. */
export async function holdOpen(path: string, access: 'read' | 'write' = 'write'): Promise<Holder> {
  const redirection = access === 'read' ? '3<"$1"' : '3<>"$1"';
  const script = `exec ${redirection} && echo open && read -r _`;
  const child: ChildProcess = spawn('sh', ['-c', script, 'holder', path], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [first] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  if (first.toString() !== 'open\n' || child.pid === undefined) throw new Error(`could not hold ${path}`);
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      const ended = child.exitCode === null ? once(child, 'exit') : undefined;
      child.stdin?.end();
      await ended;
    },
  };
}
