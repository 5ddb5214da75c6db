import { join } from 'node:path';
import { CoppiceError } from '../../model/errors.ts';
import { hasProgram, runAs } from './programs.ts';
import type { RunningCopy } from './start-copy.ts';

export interface CheckOptions {
  /** Statements, each of which must answer with true as the first value of its first row. */
  readonly sql?: readonly string[];
  /** The database for those. */
  readonly database?: string;
  readonly signal?: AbortSignal;
}

export interface CheckReport {
  readonly recoveryMilliseconds: number;
  /** All tables and indexes were read, and each row was looked up in each index. */
  readonly structure: 'passed' | 'not installed';
  readonly checksums: 'passed' | 'not enabled' | 'not installed';
  readonly statements: number;
}

/**
 * Proves a copy, as far as that can be done: reads all of it while its server runs, asks what the user wants asked, then stops the server
 * and verifies the checksum of every page.
 * @throws CoppiceError damaged, with what was found
 */
export async function checkCopy(copy: RunningCopy, options: CheckOptions = {}): Promise<CheckReport> {
  for (const statement of options.sql ?? []) await askFor(copy, statement, options.database);
  const structure = await checkStructure(copy, options.signal);
  const hasChecksums = (await copy.query('SHOW data_checksums'))[0]?.['data_checksums'] === 'on';
  await copy.stop();
  const checksums = hasChecksums ? await checkChecksums(copy, options.signal) : 'not enabled';
  return {
    recoveryMilliseconds: copy.recoveryMilliseconds,
    structure,
    checksums,
    statements: options.sql?.length ?? 0,
  };
}

async function askFor(copy: RunningCopy, statement: string, database = 'postgres'): Promise<void> {
  const shown = statement.length > 200 ? `${statement.slice(0, 200)}...` : statement;
  let answer: unknown;
  try {
    const [row] = await copy.query(statement, database).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new CoppiceError('invalid_argument', `The statement ${statement} has no answer: ${why}`, {
        cause: error,
      });
    });
    answer = row && Object.values(row)[0];
  } catch (error) {
    if (isMistake(error)) throw error;
    throw damaged(copy, `${shown} failed: ${(error as Error).message}`, error);
  }
  if (answer === true) return;
  throw damaged(copy, `${shown} answered ${answer === undefined ? 'nothing' : String(answer)} and not true`);
}

/** A statement that is none says nothing of the copy. */
function isMistake(error: unknown): boolean {
  const syntaxError = '42601';
  const { cause } = error as { readonly cause?: { readonly code?: unknown } };
  return cause?.code === syntaxError;
}

async function checkStructure(copy: RunningCopy, signal?: AbortSignal): Promise<CheckReport['structure']> {
  const [available] = await copy.query(
    "SELECT count(*) > 0 AS yes FROM pg_available_extensions WHERE name = 'amcheck'",
  );
  if (!hasProgram(copy.programs, 'pg_amcheck') || available?.['yes'] !== true) return 'not installed';
  const args = ['--all', '--heapallindexed', '--install-missing', '--no-password'];
  const server = ['--host', copy.socketDirectory, '--port', String(copy.port), '--username', copy.user];
  const program = join(copy.programs, 'pg_amcheck');
  const { code, output, errors } = await runAs(copy.owner, program, [...args, ...server], signal);
  if (code === 0) return 'passed';
  throw damaged(copy, `pg_amcheck found: ${(output || errors).trim().slice(0, 500)}`);
}

async function checkChecksums(copy: RunningCopy, signal?: AbortSignal): Promise<CheckReport['checksums']> {
  if (!hasProgram(copy.programs, 'pg_checksums')) return 'not installed';
  const program = join(copy.programs, 'pg_checksums');
  const { code, output, errors } = await runAs(copy.owner, program, ['--check', '-D', copy.path], signal);
  if (code === 0) return 'passed';
  throw damaged(copy, `pg_checksums found: ${(errors || output).trim().slice(0, 500)}`);
}

function damaged({ path }: RunningCopy, what: string, cause?: unknown): CoppiceError {
  return new CoppiceError('damaged', `The copy in ${path} is damaged: ${what.replace(/\.$/, '')}.`, {
    cause,
  });
}
