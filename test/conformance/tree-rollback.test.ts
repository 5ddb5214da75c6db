import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdMapped } from '../support/holder.ts';
import { conformance, type Suite } from './suite.ts';

conformance('rollback of a tree', (suite) => {
  const { needs } = suite;

  needs('switchesMounts')(
    'mounts of it follow, and whoever reads through one finds it at every moment',
    async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      const at = scratchDirectory('at');
      runProgram('mount', ['--bind', '-o', 'nosuid,nodev', path, at]);
      runProgram('mount', ['-o', 'remount,bind,nosuid,nodev,noatime', at]);
      try {
        const reader = await readingAgainAndAgain(join(at, 'state'));
        for (let round = 0; round < 20; round++) {
          const { undo = '' } = await rolledBack(suite, `${name}@s1`, reader);
          expect(readFileSync(join(at, 'state'), 'utf8')).toBe('1');
          expect(readFileSync(join(path, 'state'), 'utf8')).toBe('1');
          await rolledBack(suite, undo, reader);
          expect(readFileSync(join(at, 'state'), 'utf8')).toBe('2');
        }
        expect(await reader.end()).toMatchObject({ failures: [], states: ['1', '2'] });
        writeFileSync(join(at, 'new'), 'written through the mount');
        expect(existsSync(join(path, 'new'))).toBe(true);
        expect(mountsAt(at)).toEqual([expect.stringMatching(/nosuid,nodev,noatime/)]);
      } finally {
        runProgram('umount', [at]);
      }
      await pool.remove(name, { withSnapshots: true });
    },
  );

  needs('switchesMounts')('a mount that notes each reading does so afterwards', async () => {
    const { pool } = suite;
    const { name, path } = await tree(suite);
    const at = scratchDirectory('at');
    runProgram('mount', ['--bind', path, at]);
    try {
      runProgram('mount', ['-o', 'remount,bind,strictatime', at]);
      expect(mountsAt(at)).toEqual([expect.not.stringMatching(/relatime|noatime/)]);
      await pool.rollback(`${name}@s1`);
      expect(readFileSync(join(at, 'state'), 'utf8')).toBe('1');
      expect(mountsAt(at)).toEqual([expect.not.stringMatching(/relatime|noatime/)]);
    } finally {
      runProgram('umount', [at]);
    }
  });

  needs('switchesMounts')('who goes on with the old state when a rollback has died keeps it', async () => {
    const { pool } = suite;
    const { name, path } = await tree(suite);
    const at = scratchDirectory('at');
    runProgram('mount', ['--bind', path, at]);
    try {
      // It dies after the exchange, before the mount follows.
      const [library, systemCalls] = ['index', 'linux/system-calls'].map(
        (module) => new URL(`../../src/${module}.ts`, import.meta.url).href,
      );
      const script = `
        const { openPool } = await import(${JSON.stringify(library)});
        const { observeCalls } = await import(${JSON.stringify(systemCalls)});
        observeCalls((call) => { if (call === 'open_tree') process.kill(process.pid, 'SIGKILL'); });
        const pool = await openPool(process.argv[1], { inline: true });
        await pool.rollback(process.argv[2]);
      `;
      const words = ['--input-type=module', '-e', script, suite.home.path, `${name}@s1`];
      const child = spawn(process.execPath, words, { stdio: 'inherit' });
      expect((await once(child, 'exit'))[1]).toBe('SIGKILL');
      const file = openSync(join(at, 'state'), 'r+');
      try {
        writeSync(file, 'kept', 0);
        fsyncSync(file);
        await suite.home.reopen();
        writeSync(file, 'kept on', 0);
        fsyncSync(file);
        expect(readFileSync(join(at, 'state'), 'utf8')).toBe('kept on');
        expect(readFileSync(join(path, 'state'), 'utf8')).toBe('kept on');
      } finally {
        closeSync(file);
      }
      const { undo = '' } = await pool.rollback(`${name}@s1`);
      expect(readFileSync(join(at, 'state'), 'utf8')).toBe('1');
      expect(readFileSync(join(await pool.diskPath(undo), 'state'), 'utf8')).toBe('kept on');
      expect((await pool.listSnapshots(name)).map((each) => each.reference)).toEqual([`${name}@s1`, undo]);
    } finally {
      runProgram('umount', [at]);
    }
  });

  needs('switchesMounts')(
    'mounts in other namespaces that follow those of this one do not stand in the way',
    async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      // As on a host with systemd: what is mounted here is mounted there, too.
      const shared = scratchDirectory('shared');
      runProgram('mount', ['-t', 'tmpfs', 'none', shared]);
      runProgram('mount', ['--make-shared', shared]);
      const at = join(shared, 'at');
      mkdirSync(at);
      runProgram('mount', ['--bind', path, at]);
      const other = spawn(
        'unshare',
        ['-m', '--propagation', 'slave', 'sh', '-c', 'echo ready; read -r _; cat "$0/state"', at],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      );
      try {
        await once(other.stdout, 'data');
        await pool.rollback(`${name}@s1`);
        expect(readFileSync(join(at, 'state'), 'utf8')).toBe('1');
        other.stdin.end('go on\n');
        const [text] = (await once(other.stdout, 'data')) as [Buffer];
        expect(text.toString()).toBe('1');
        await once(other, 'exit');
      } finally {
        other.kill();
        runProgram('umount', [at]);
        runProgram('umount', [shared]);
      }
    },
  );

  needs('switchesMounts')('a mount that can not follow stands in the way, and is named', async () => {
    const { pool } = suite;
    const { name, path } = await tree(suite);
    const at = scratchDirectory('at');
    // In a mount namespace of somebody else.
    const other = spawn(
      'unshare',
      ['-m', 'sh', '-c', 'mount --bind "$0" "$1" && echo ready && read -r _', path, at],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    await once(other.stdout, 'data');
    const { blockers } = await refusal(() => pool.rollback(`${name}@s1`, { force: true }), 'blocked');
    expect(blockers.map(({ what }) => what).join()).toContain(at);
    other.stdin.end();
    await once(other, 'exit');

    // With something else mounted in it, and of a part of it.
    mkdirSync(join(path, 'inside'));
    runProgram('mount', ['--bind', path, at]);
    runProgram('mount', ['-t', 'tmpfs', 'none', join(at, 'inside')]);
    try {
      const { blockers: inside } = await refusal(() => pool.rollback(`${name}@s1`), 'blocked');
      expect(inside.map(({ what }) => what).join()).toContain(join(at, 'inside'));
    } finally {
      runProgram('umount', [join(at, 'inside')]);
      runProgram('umount', [at]);
    }
    runProgram('mount', ['--bind', join(path, 'inside'), at]);
    try {
      const { blockers: part } = await refusal(() => pool.rollback(`${name}@s1`), 'blocked');
      expect(part.map(({ what }) => what).join()).toContain(at);
    } finally {
      runProgram('umount', [at]);
    }
    expect(readFileSync(join(path, 'state'), 'utf8')).toBe('2');
    await pool.rollback(`${name}@s1`);
    expect(readFileSync(join(path, 'state'), 'utf8')).toBe('1');
  });

  needs('treeVolumes')(
    'whoever has anything of it open is named: a map, a working directory, a program',
    async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      {
        await using mapped = await holdMapped(join(path, 'state'));
        const { blockers } = await refusal(() => pool.rollback(`${name}@s1`), 'blocked');
        expect(blockers[0]?.what).toContain(`process ${mapped.pid}`);
      }
      for (const start of [
        () => spawn('sleep', ['60'], { cwd: path }),
        () => {
          runProgram('cp', ['/bin/sleep', join(path, 'program')]);
          return spawn(join(path, 'program'), ['60']);
        },
      ]) {
        const child = start();
        await once(child, 'spawn');
        const { blockers } = await refusal(() => pool.rollback(`${name}@s1`), 'blocked');
        expect(blockers[0]?.what).toContain(`process ${child.pid}`);
        child.kill();
        await once(child, 'exit');
      }
      const file = join(path, 'image');
      writeFileSync(file, Buffer.alloc(2 ** 20));
      const device = runProgram('losetup', ['--find', '--show', file]).trim();
      try {
        const { blockers } = await refusal(() => pool.rollback(`${name}@s1`), 'blocked');
        expect(blockers[0]?.what).toContain(device);
      } finally {
        runProgram('losetup', ['-d', device]);
      }
      const { undo = '' } = await pool.rollback(`${name}@s1`);
      await pool.rollback(undo);
      expect(readdirSync(path).sort()).toEqual(['image', 'program', 'state']);
    },
  );

  needs('treeVolumes')(
    'what speaks of processes of a declared database is gone, and nothing else',
    async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      for (const directory of ['postgres', 'elsewhere']) {
        mkdirSync(join(path, directory));
        for (const file of ['postmaster.pid', 'PG_VERSION', '.s.PGSQL.5432.lock'])
          writeFileSync(join(path, directory, file), 'x');
      }
      const outside = scratchDirectory('outside');
      writeFileSync(join(outside, 'postmaster.pid'), 'of somebody else');
      symlinkSync(outside, join(path, 'link'));
      await pool.snapshot(`${name}@running`, { consistency: 'sync' });
      for (const directory of ['postgres', 'link']) {
        await setRaw(suite, name, directory);
        await pool.rollback(`${name}@running`);
        expect(readdirSync(join(path, 'elsewhere')).sort()).toEqual([
          '.s.PGSQL.5432.lock',
          'PG_VERSION',
          'postmaster.pid',
        ]);
        expect(readdirSync(outside)).toEqual(['postmaster.pid']);
        if (directory === 'postgres') expect(readdirSync(join(path, 'postgres'))).toEqual(['PG_VERSION']);
      }
      const kept = await pool.diskPath(`${name}@running`);
      expect(readdirSync(join(kept, 'postgres'))).toHaveLength(3);
    },
  );
});

async function setRaw(suite: Suite, name: string, directory: string): Promise<void> {
  await suite.pool.set(name, { 'quiesce.postgres': directory });
}

async function tree(suite: Suite): Promise<{ name: string; path: string }> {
  const name = suite.name('tree');
  await suite.pool.create(name, { kind: 'tree' });
  const path = await suite.pool.diskPath(name);
  writeFileSync(join(path, 'state'), '1');
  await suite.pool.snapshot(`${name}@s1`);
  writeFileSync(join(path, 'state'), '2');
  return { name, path };
}

interface Reader {
  readonly pid: number | undefined;
  end(): Promise<{ readonly failures: readonly string[]; readonly states: readonly string[] }>;
}

/** Rolls back as soon as the reader has nothing open, which it has for a moment now and then. */
async function rolledBack(suite: Suite, reference: string, { pid }: Reader): Promise<{ undo?: string }> {
  for (;;) {
    try {
      return await suite.pool.rollback(reference);
    } catch (error) {
      if (!(error instanceof Error && error.message.includes(`process ${pid} `))) throw error;
    }
  }
}

/** Another process that opens and reads a file all the time. */
async function readingAgainAndAgain(file: string): Promise<Reader> {
  const script = `
    const { readFileSync } = require('node:fs');
    const failures = [], states = new Set();
    let reads = 0;
    const read = () => {
      for (let each = 0; each < 20; each++) {
        try { states.add(readFileSync(process.argv[1], 'utf8')); } catch (error) { failures.push(error.code); }
        if (++reads === 1) console.log('reading');
      }
      setImmediate(read);
    };
    process.stdin.on('end', () => { console.log(JSON.stringify({ failures, states: [...states].sort(), reads })); process.exit(); });
    process.stdin.resume();
    read();
  `;
  const child = spawn(process.execPath, ['-e', script, file], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return {
    pid: child.pid,
    async end() {
      child.stdin.end();
      const [text] = (await once(child.stdout, 'data')) as [Buffer];
      await once(child, 'exit');
      return JSON.parse(text.toString()) as { failures: string[]; states: string[] };
    },
  };
}

function mountsAt(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[4] === directory);
}
