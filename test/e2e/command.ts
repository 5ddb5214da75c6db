import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { builtCommand } from '../support/built.ts';
import { mark } from '../support/marks.ts';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built command as a process of its own, on a pool, without a terminal. */
export function coppice(pool: string, ...args: readonly string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [builtCommand(), ...args], {
    encoding: 'utf8',
    env: environment(pool),
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    maxBuffer: 2 ** 26,
  });
  return { code: status, stdout, stderr };
}

export interface Running {
  readonly process: ChildProcess;
  readonly ended: Promise<Ran>;
}

/** The same, while this process goes on, as it must where it is asked something. */
export function startCoppice(pool: string, ...args: readonly string[]): Running {
  const child = spawn(process.execPath, [builtCommand(), ...args], {
    env: environment(pool),
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  const ended = new Promise<Ran>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { process: child, ended };
}

/** Runs a line of shell in which `coppice` is the built command. */
export function shell(pool: string, line: string): Ran {
  const { status, stdout, stderr } = spawnSync('bash', ['-c', `coppice() { ${quoted()} "$@"; }; ${line}`], {
    encoding: 'utf8',
    env: environment(pool),
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
  });
  return { code: status, stdout, stderr };
}

export interface Session {
  readonly code: number | null;
  /** What the terminal showed: standard output and standard error together. */
  readonly screen: string;
}

/** Runs it on a pseudo-terminal; types when it asks. */
export function onTerminal(
  pool: string,
  line: string,
  prompt: string,
  typed: string,
  columns = 80,
): Promise<Session> {
  const sized = `stty cols ${columns}; ${line.replace(/^coppice/, quoted())}`;
  const child = spawn('script', ['-qec', sized, '/dev/null'], {
    env: { ...environment(pool), TERM: 'xterm-256color' },
    stdio: ['pipe', 'pipe', 'ignore'],
    cwd: '/',
  });
  let screen = '';
  let asked = false;
  child.stdout.on('data', (chunk: Buffer) => {
    screen += chunk;
    if (asked || !screen.includes(prompt)) return;
    asked = true;
    child.stdin.write(typed);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, screen }));
  });
}

function quoted(): string {
  return `'${process.execPath}' '${builtCommand()}'`;
}

function environment(pool: string): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], COPPICE_POOL: pool, TZ: 'UTC', ...mark() };
}
