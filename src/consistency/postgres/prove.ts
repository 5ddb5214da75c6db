import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VerificationCheck } from '../../model/metadata.ts';
import type { Proof } from '../proof.ts';
import { type CheckReport, checkCopy } from './check-copy.ts';
import { openDataDirectory } from './data-directory.ts';
import { parsePostgres } from './declaration.ts';
import { fitsSocket } from './make-safe.ts';
import { makeSocketDirectory } from './own-sockets.ts';
import { startCopy } from './start-copy.ts';

/** Starts a server on a copy, waits until it has recovered, and checks all that it has. */
export async function prove(name: string, value: string, proof: Proof): Promise<VerificationCheck[]> {
  const { directory: below, user, database } = parsePostgres(name, value);
  const { copy, formerly, volumes, formerlyOf, sql, signal, programs, timeoutMilliseconds } = proof;
  const sockets = directoryForSockets(copy);
  try {
    const socketDirectory = join(sockets, socketName);
    {
      using data = openDataDirectory(copy, below);
      makeSocketDirectory(sockets, socketName, data.owner);
    }
    await using server = await startCopy(copy, {
      below,
      socketDirectory,
      user,
      formerly,
      volumes,
      formerlyOf,
      ...(programs !== undefined && { programs }),
      ...(timeoutMilliseconds !== undefined && { timeoutMilliseconds }),
      ...(signal && { signal }),
    });
    const report = await checkCopy(server, { sql, database, ...(signal && { signal }) });
    return checksOf(name, report);
  } finally {
    if (sockets !== copy) rmSync(sockets, { recursive: true, force: true });
  }
}

const socketName = '.proof-socket';

/** The copy, with which it goes also when we are killed, unless its path is so long that no socket fits. */
function directoryForSockets(copy: string): string {
  if (fitsSocket(join(copy, socketName))) return copy;
  const directory = mkdtempSync(join(tmpdir(), 'coppice-'));
  // The way there must be open to the owner of the cluster.
  chmodSync(directory, 0o711);
  return directory;
}

function checksOf(
  name: string,
  { recoveryMilliseconds, structure, checksums, statements }: CheckReport,
): VerificationCheck[] {
  const passed = (what: string, message?: string): VerificationCheck => ({
    name: `${name} ${what}`,
    result: 'passed',
    ...(message !== undefined && { message }),
  });
  return [
    passed('starts', `recovered in ${Math.round(recoveryMilliseconds)} ms`),
    ...(structure === 'passed' ? [passed('amcheck')] : []),
    ...(checksums === 'passed' ? [passed('checksums')] : []),
    ...(statements > 0 ? [passed('statements', String(statements))] : []),
  ];
}
