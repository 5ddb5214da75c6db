import type { ChildProcess } from 'node:child_process';
import { accessSync, constants as fileConstants, statSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, resolve } from 'node:path';
import { endFamily, guardsInEnvironment, guardVariable } from '../engine/guards/family.ts';
import type { Guarded } from '../engine/guards/guard.ts';
import { note } from './command.ts';
import type { CliContext } from './context.ts';

/** What is run in a guard, as words. */
export interface GuardedCommand {
  readonly command: readonly string[];
  readonly check?: readonly string[];
  /** Whether standard output is for a program to read. */
  readonly isForProgram: boolean;
}

/** A command that has failed, with what its caller is to be told. */
export class CommandFailed extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/**
 * Whether all can be started, before anything is done for it: a check that is misspelt would undo a change that has succeeded. One
 * that is named by a path may be what the change brings; that it is not there yet is only told.
 * @throws CommandFailed with the code that a shell would have for it
 */
export function requirePrograms(context: CliContext, { command, check = [] }: GuardedCommand): void {
  requireProgram(context, command[0]);
  const [checker] = check;
  if (checker?.includes('/') && programsOf(context, checker).length === 0)
    note(context, `coppice: note: there is no program ${checker} yet, so the check fails unless it is made.`);
  else requireProgram(context, checker);
}

function requireProgram(context: CliContext, program: string | undefined): void {
  if (program === undefined) return;
  const found = programsOf(context, program);
  if (found.length === 0) throw new CommandFailed(`There is no program ${program}.`, 127);
  if (!found.some(isExecutable))
    throw new CommandFailed(`${program} can not be run: make it executable.`, 126);
}

/** The files that a shell would take for it. */
function programsOf({ process }: CliContext, program: string): string[] {
  const places = program.includes('/') ? [''] : (process.env['PATH'] ?? '').split(delimiter);
  return places.map((place) => resolve(process.cwd(), place, program)).filter(isFile);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, fileConstants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs a command in a guard, and then its check. What they have left running is ended where one of them fails.
 * @throws CommandFailed
 */
export async function runGuarded(
  { process }: CliContext,
  { command, check, isForProgram }: GuardedCommand,
  guarded: Guarded,
): Promise<void> {
  const ids = [...guardsInEnvironment(process.env), guarded.id];
  const env = { ...process.env, [guardVariable]: ids.join(' ') };
  const started = process.cwd();
  try {
    // The result is to be all that is on standard output where it is for a program.
    const where = { env, cwd: started, output: isForProgram ? 2 : 1 };
    await runOne(command, where, guarded);
    if (check) await runOne(check, where, guarded);
  } catch (error) {
    // What it has left running must not change what is undone now.
    await endFamily(guarded.id);
    throw error;
  } finally {
    // Where this was started may be in what is rolled back now.
    process.chdir('/');
  }
}

interface Surroundings {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** The descriptor that is standard output of it. */
  readonly output: number;
}

/** @throws CommandFailed */
async function runOne(
  words: readonly string[],
  { env, cwd, output }: Surroundings,
  { signal, runs }: Guarded,
): Promise<void> {
  const { spawn } = await import('node:child_process');
  const [program = '', ...args] = words;
  signal.throwIfAborted();
  const child = spawn(program, args, { env, cwd, stdio: ['inherit', output, 2] });
  // It is found by its variable, too, should we die before this is heard.
  if (child.pid !== undefined) void runs(child.pid).catch(() => undefined);
  const end = (): void => void endIt(child);
  signal.addEventListener('abort', end);
  try {
    await new Promise<void>((resolve, reject) => {
      child.on('error', (error: NodeJS.ErrnoException) => {
        const absent = error.code === 'ENOENT';
        reject(
          new CommandFailed(
            absent ? `there is no program ${program}.` : `${program}: ${error.message}`,
            absent ? 127 : 126,
          ),
        );
      });
      child.on('exit', (code, name) => {
        if (code === 0) resolve();
        else if (signal.aborted) reject(signal.reason);
        else if (name === null)
          reject(new CommandFailed(`${program} failed with exit code ${code}.`, code ?? 1));
        else
          reject(new CommandFailed(`${program} was ended by ${name}.`, 128 + (constants.signals[name] ?? 0)));
      });
    });
  } finally {
    signal.removeEventListener('abort', end);
  }
}

const grace = 10_000;

async function endIt(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), grace);
  child.on('exit', () => clearTimeout(timer));
}
