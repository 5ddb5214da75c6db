import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasErrno } from '../../src/linux/system-calls.ts';
import { repository } from './built.ts';
import { commandOf, end, markedProcesses, markRun } from './marks.ts';
import { clearDeadRuns } from './run-directory.ts';

/** Returns what is to be done when all tests have ended. */
export default function setup(): () => void {
  for (const path of clearDeadRuns()) console.log(`cleared what a killed test run left: ${path}`);
  process.env['COPPICE_SEED'] ??= seedOfCommit();
  console.log(`what is left to chance is that of COPPICE_SEED=${process.env['COPPICE_SEED']}`);
  process.env['NODE_COMPILE_CACHE'] ??= compileCache();
  markRun();
  return endWhatIsLeft;
}

/** The same whenever a commit is tested, so that what has failed fails again; another for the next one. */
function seedOfCommit(): string {
  try {
    const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: repository, stdio: 'pipe' }).toString();
    return String(Number.parseInt(commit.slice(0, 6), 16));
  } catch {
    return '0'; // the sources came without git, or git does not trust them
  }
}

/** Where Node keeps what it has made of sources. What it has not found there it adds, so once in a day it begins anew. */
function compileCache(): string {
  const directory = join(repository, 'node_modules', '.cache', 'coppice-tests');
  const day = 24 * 3600 * 1000;
  try {
    if (Date.now() - statSync(directory).birthtimeMs > day)
      rmSync(directory, { recursive: true, force: true });
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** Each file has ended what it left, but not one whose process has died; and what is left may keep this process from ending. */
function endWhatIsLeft(): void {
  // Those that run the tests are ended by who has started them.
  const left = markedProcesses().filter(({ parent }) => parent !== process.pid);
  const lines = left.map(({ pid }) => `${pid} ${commandOf(pid)}`);
  for (const { pid } of left) end(pid);
  if (lines.length > 0) throw new Error(`processes were left behind by the tests:\n${lines.join('\n')}`);
}
