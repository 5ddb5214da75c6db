import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** The PostgreSQL that tests run: the newest that is installed, or that in `COPPICE_POSTGRES`, the directory of its programs. */
export function postgresPrograms(): string {
  const home = '/usr/lib/postgresql';
  const versions = existsSync(home) ? readdirSync(home).map(Number).filter(Boolean) : [];
  const newest = versions.sort((a, b) => b - a)[0] ?? 15;
  return process.env['COPPICE_POSTGRES'] ?? join(home, String(newest), 'bin');
}

/** pgbench works with servers of any version, and does not come with all. */
export function pgbench(): string {
  const own = join(postgresPrograms(), 'pgbench');
  return existsSync(own) ? own : '/usr/lib/postgresql/15/bin/pgbench';
}

/** What a check of page checksums says that has found nothing: not all ways to get PostgreSQL bring the program for it. */
export function verified(): 'passed' | 'not installed' {
  return existsSync(join(postgresPrograms(), 'pg_checksums')) ? 'passed' : 'not installed';
}
