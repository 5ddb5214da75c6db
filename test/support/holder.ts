import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Holder extends AsyncDisposable {
  readonly pid: number;
}

/** Another process that has a file open until it is disposed of. */
export function holdOpen(path: string, access: 'read' | 'write' = 'write'): Promise<Holder> {
  const redirection = access === 'read' ? '3<"$1"' : '3<>"$1"';
  return hold('sh', ['-c', `exec ${redirection} && echo open && read -r _`, 'holder', path]);
}

/** Another process that has a file mapped, and no descriptor of it. */
export function holdMapped(path: string): Promise<Holder> {
  const script = `
    const { openSync, closeSync } = require('node:fs');
    const mmap = require('koffi').load('libc.so.6').func('void *mmap(void *, size_t, int, int, int, long)');
    const fd = openSync(process.argv[1], 'r');
    mmap(null, 4096, 1, 1, fd, 0);
    closeSync(fd);
    console.log('open');
    process.stdin.resume();
  `;
  return hold(process.execPath, ['-e', script, path]);
}

async function hold(program: string, args: readonly string[]): Promise<Holder> {
  const child: ChildProcess = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [first] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  if (first.toString() !== 'open\n' || child.pid === undefined)
    throw new Error(`${program} could not hold the file`);
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      const ended = child.exitCode === null ? once(child, 'exit') : undefined;
      child.stdin?.end();
      await ended;
    },
  };
}
