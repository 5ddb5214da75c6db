import { lstatSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

conformance('export', (suite) => {
  test.each(['raw', 'qcow2'] as const)(
    'as %s gives back what was imported, from each kind',
    async (format) => {
      const { name, path } = await suite.volume(8 * MiB);
      const bytes = writePattern(path, 20, MiB, MiB);
      await suite.pool.snapshot(`${name}@s`);
      const template = suite.name('t');
      await suite.pool.seal(name, template);
      for (const source of [name, `${name}@s`, template]) {
        const target = join(suite.scratch, suite.name('out'));
        expect(await suite.pool.export(source, target, { format })).toEqual({
          source,
          file: target,
          format,
          bytes: 8 * MiB,
        });
        const again = suite.name('t');
        await suite.pool.import(again, target, { format });
        const disk = await suite.pool.diskPath(again);
        expect(digest(disk)).toBe(digest(path));
        expect(
          readFileSync(disk)
            .subarray(MiB, 2 * MiB)
            .equals(bytes),
        ).toBe(true);
        expect(statSync(target).blocks * 512).toBeLessThan(4 * MiB);
      }
    },
  );

  test('never overwrites unasked, never leaves a part', async () => {
    const { name } = await suite.volume();
    const target = join(suite.scratch, suite.name('out'));
    writeFileSync(target, 'precious');
    await refusal(() => suite.pool.export(name, target), 'already_exists');
    expect(readFileSync(target, 'utf8')).toBe('precious');
    await suite.pool.export(name, target, { overwrite: true });
    expect(digest(target)).toBe(digestOf(Buffer.alloc(0), MiB));
    await refusal(() => suite.pool.export(name, join(suite.scratch, 'no', 'such')), 'not_found');
    await refusal(() => suite.pool.export('never-made', `${target}.2`), 'not_found');
    await refusal(() => suite.pool.export(name, `${target}.3`, { signal: AbortSignal.abort() }), 'cancelled');
    const link = `${target}.link`;
    symlinkSync(target, link);
    await refusal(() => suite.pool.export(name, link, { overwrite: true }), 'invalid_argument');
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    const disk = await suite.pool.diskPath(name);
    await refusal(() => suite.pool.export(name, disk, { overwrite: true }), 'invalid_argument');
    const left = runProgram('find', [suite.scratch, '-name', '*.partial']);
    expect(left).toBe('');
  });

  suite.needs('files')('follows no link that somebody put in the place of a disk', async () => {
    const { name, path } = await suite.volume();
    runProgram('ln', ['--symbolic', '--force', '--', '/etc/passwd', path]);
    await refusal(() => suite.pool.export(name, join(suite.scratch, suite.name('out'))), 'damaged');
  });
});
