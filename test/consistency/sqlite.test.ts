import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readProcess, readProcesses } from '../../src/linux/processes.ts';
import { scratchDirectory } from '../support/devices.ts';
import { acknowledged } from '../support/ordered-writer.ts';
import { startScript, type TestProgram } from '../support/programs.ts';
import { declared, quiesced, scopeOf } from '../support/quiesced.ts';
import { type Subvolume, subvolume } from '../support/subvolume.ts';

const nobody = 65534;
let volume: Subvolume;
let answers: string;

beforeAll(() => {
  volume = subvolume();
  answers = join(scratchDirectory('sqlite'), 'acknowledged');
});
afterAll(() => volume[Symbol.dispose]());

const inVolume = (...names: readonly string[]): string => join(volume.directory, ...names);

async function writer(name: string, journal: string, pause = 1): Promise<TestProgram> {
  const program = startScript('sqlite-writer', [inVolume(name), journal, answers, String(pause)]);
  await program.said('ready');
  return program;
}

async function goesOn(): Promise<boolean> {
  const before = acknowledged(answers);
  for (let tries = 0; tries < 1000 && acknowledged(answers) === before; tries++) await delay(10);
  return acknowledged(answers) > before;
}

/** How many rows are in the file itself, without what stands in journals beside it. */
function rowsInFile(path: string): number {
  using database = new DatabaseSync(`file:${path}?immutable=1`, { readOnly: true });
  expect(database.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
  const [a, b] = ['a', 'b'].map((table) => database.prepare(`SELECT max(n) AS n FROM ${table}`).get()?.['n']);
  expect(a).toBe(b);
  return Number(a ?? 0);
}

/** A database that nobody has open. */
function database(path: string, journal = 'wal'): void {
  using made = new DatabaseSync(path);
  made.exec(`PRAGMA journal_mode = ${journal}; CREATE TABLE t (n INTEGER)`);
}

test.each([
  ['wal', 1],
  ['delete', 0],
])('the file alone has all, in mode %s', async (journal, pause) => {
  const name = `${journal}.db`;
  await using _program = await writer(name, journal, pause);
  for (let round = 0; round < 4; round++) {
    const before = acknowledged(answers);
    const { taken: copy, state } = await quiesced(`sqlite=${name}`, scopeOf(volume), () => volume.snapshot());
    expect(state).toEqual({
      name: 'sqlite',
      level: 'application',
      recovery: 'none',
      details: { database: name, journal },
    });
    expect(rowsInFile(join(copy, name))).toBeGreaterThanOrEqual(before);
    expect(
      readdirSync(copy).filter((each) => each === `${name}-journal` && statSync(join(copy, each)).size > 0),
    ).toEqual([]);
    volume.drop(copy);
  }
  expect(await goesOn()).toBe(true);
});

test('without it, the file alone has not', async () => {
  await using _program = await writer('control.db', 'wal');
  await goesOn();
  const before = acknowledged(answers);
  const copy = volume.snapshot();
  expect(() => expect(rowsInFile(join(copy, 'control.db'))).toBeGreaterThanOrEqual(before)).toThrow();
  volume.drop(copy);
});

test('says what a start has to do when a reader is in the way', async () => {
  database(inVolume('read.db'));
  using other = new DatabaseSync(inVolume('read.db'));
  other.exec('INSERT INTO t VALUES (1); BEGIN; SELECT * FROM t');
  using second = new DatabaseSync(inVolume('read.db'));
  second.exec('INSERT INTO t VALUES (2)');
  const { taken: copy, state } = await quiesced('sqlite=read.db', scopeOf(volume), () => volume.snapshot());
  expect(state).toMatchObject({ recovery: 'WAL', details: { logBytes: expect.stringMatching(/^\d+$/) } });
  using copied = new DatabaseSync(join(copy, 'read.db'));
  expect(copied.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 2 });
  copied.close();
  volume.drop(copy);
});

test('is done as the user whom the file belongs to', async () => {
  const directory = inVolume('of-nobody');
  mkdirSync(directory);
  database(join(directory, 'a?b#c%d.db'));
  for (const path of [directory, ...readdirSync(directory).map((name) => join(directory, name))])
    chownSync(path, nobody, nobody);
  const owners = await quiesced('sqlite=of-nobody/a?b#c%d.db', scopeOf(volume), () => {
    const [session] = sessions();
    expect(statSync(`/proc/${session}`).uid).toBe(nobody);
    return readdirSync(directory).map((name) => `${name} ${statSync(join(directory, name)).uid}`);
  });
  expect(owners.taken.sort()).toEqual(['', '-shm', '-wal'].map((end) => `a?b#c%d.db${end} ${nobody}`));
});

test('waits no longer than it may for somebody who writes', async () => {
  database(inVolume('busy.db'), 'delete');
  using other = new DatabaseSync(inVolume('busy.db'));
  other.exec('BEGIN IMMEDIATE');
  const late = quiesced('sqlite=busy.db,timeout=0.5', scopeOf(volume), () => undefined);
  await expect(late).rejects.toThrow(/database is locked; somebody else writes for longer/);
  other.exec('COMMIT; BEGIN IMMEDIATE; COMMIT');
  expect(sessions()).toEqual([]);
});

test('a lock that was lost is no snapshot', async () => {
  database(inVolume('lost.db'));
  const lost = quiesced('sqlite=lost.db', scopeOf(volume), () => {
    for (const pid of sessions()) process.kill(pid, 'SIGKILL');
  });
  await expect(lost).rejects.toThrow(/the process that had it open has ended/);
  const exchanged = quiesced('sqlite=lost.db', scopeOf(volume), () => {
    database(inVolume('other.db'));
    renameSync(inVolume('other.db'), inVolume('lost.db'));
  });
  await expect(exchanged).rejects.toThrow(/another file has been put in its place/);
});

test('who is killed while he holds leaves no lock', async () => {
  database(inVolume('killed.db'), 'delete');
  await using child = startScript('quiesce-child', ['sqlite=killed.db', volume.directory, 'hold']);
  await child.said('hold');
  using other = new DatabaseSync(inVolume('killed.db'));
  expect(() => other.exec('BEGIN IMMEDIATE')).toThrow(/locked/);
  child.child.kill('SIGKILL');
  await child.ended;
  other.exec('PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE; COMMIT');
});

test('what is no database of this volume is refused', async () => {
  const outside = join(answers, '..', 'outside.db');
  database(outside);
  symlinkSync(outside, inVolume('link.db'));
  symlinkSync(join(answers, '..'), inVolume('link'));
  database(inVolume('twice.db'));
  linkSync(inVolume('twice.db'), inVolume('second.db'));
  writeFileSync(inVolume('text.db'), 'no database, and longer than a header has to be '.repeat(100));
  mkdirSync(inVolume('open'), { mode: 0o777 });
  database(inVolume('open', 'root.db'));
  chmodSync(inVolume('open'), 0o777);
  mkdirSync(inVolume('theirs'));
  database(inVolume('theirs', 'root.db'));
  chownSync(inVolume('theirs'), nobody, nobody);
  for (const [path, sentence] of [
    ['link.db', /symbolic link/],
    ['link/outside.db', /symbolic link/],
    ['none.db', /There is no none\.db/],
    ['twice.db', /several names/],
    ['text.db', /file is not a database/],
    ['open/root.db', /others may write to its directory/],
    ['theirs/root.db', /directory belongs to user 65534/],
    ['open', /not a file/],
  ] as const) {
    await expect(quiesced(`sqlite=${path}`, scopeOf(volume), () => undefined)).rejects.toThrow(sentence);
  }
  for (const value of ['../a', '/a', 'a//b', 'timeout=1', 'a,x=1'])
    await expect(declared(`sqlite=${value}`)).rejects.toThrow(/quiesce\.sqlite can't be used/);
  expect(statSync(inVolume('text.db')).size).toBe(4800);
  rmSync(inVolume('link'));
});

function sessions(): number[] {
  return readProcesses().flatMap(({ pid, parent, state }) =>
    parent === process.pid && state !== 'Z' && readProcess(pid) ? (isSession(pid) ? [pid] : []) : [],
  );
}

function isSession(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('sqlite-session');
  } catch {
    return false;
  }
}
