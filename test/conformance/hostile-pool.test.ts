import {
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readAttribute, writeAttribute } from '../../src/linux/attributes.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, writePattern } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

/** Somebody who may write in the pool's directory puts there what does not belong: nothing outside of the pool is ever reached. */
conformance(
  'what somebody planted in the pool',
  (suite) => {
    const planted = (...path: string[]): string => join(suite.home.path, ...path);

    const changing = (name: string): ReadonlyArray<readonly [string, () => Promise<unknown>]> => [
      ['clone', () => suite.pool.clone(name, suite.name())],
      ['snapshot', () => suite.pool.snapshot(`${name}@new`)],
      ['seal', () => suite.pool.seal(name, suite.name())],
      ['grow', () => suite.pool.grow(name, { bytes: 4 * MiB })],
      ['export', () => suite.pool.export(name, join(suite.scratch, suite.name('out')))],
      ['usage', () => suite.pool.usage([name], { exact: true })],
    ];

    describe.each(['link', 'file', 'directory', 'mount'] as const)(
      'a %s in the place of a volume',
      (kind) => {
        test('is listed as foreign, refused by every operation, and left alone', async () => {
          const outside = victim();
          const name = suite.name('foreign');
          const place = planted('volumes', name);
          using _mount = plant(kind, place, outside);
          expect((await suite.pool.list()).find((volume) => volume.name === name)).toMatchObject({
            type: 'foreign',
          });
          for (const [operation, attempt] of [
            ...changing(name),
            ['rename', () => suite.pool.rename(name, suite.name())],
            ['remove', () => suite.pool.remove(name, { force: true })],
            ['rollback', () => suite.pool.rollback(`${name}@s`)],
            ['show', () => suite.pool.show(name)],
            ['path', () => suite.pool.diskPath(name)],
          ] as const) {
            const error = await refusal(attempt);
            expect(['damaged', 'not_found'], `${operation}: ${error.message}`).toContain(error.code);
          }
          for (const attempt of [
            () => suite.pool.create(name, { bytes: MiB }),
            async () => suite.pool.rename((await suite.volume()).name, name),
          ])
            await refusal(attempt, 'already_exists');
          expect((await suite.pool.check()).map((finding) => finding.subject)).toContain(place);
          expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
          await suite.home.reopen();
          expect((await suite.pool.list()).some((volume) => volume.name === name)).toBe(true);
        });
      },
    );

    describe.each(['link', 'file', 'directory', 'mount', 'pipe'] as const)(
      'a %s in the place of a disk',
      (kind) => {
        test('is never followed: typed refusals, nothing outside is touched', async () => {
          const outside = victim();
          const { name, path } = await suite.volume();
          await suite.pool.snapshot(`${name}@s`);
          rmSync(path);
          using _mount = plant(kind, path, join(outside, 'data', 'disk.raw'));
          for (const [operation, attempt] of changing(name)) {
            if (kind === 'file') continue; // a file there is a disk
            if (kind === 'mount' && operation === 'snapshot') continue; // the mount is not in the subvolume
            const error = await attempt().then(
              () => undefined,
              (failure: unknown) => refusal(() => Promise.reject(failure)),
            );
            expect(error?.code, operation).toMatch(/damaged|io_error|invalid_argument|blocked/);
          }
          expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
          if (kind === 'mount') return; // what is mounted can't be destroyed
          await suite.pool.remove(name, { withSnapshots: true, force: true });
          expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
        });
      },
    );

    describe.each(['link', 'file', 'pipe', 'mount'] as const)(
      'a %s in the place of the directory of snapshots',
      (kind) => {
        test('is reported, never followed, and hides nothing else', async () => {
          const outside = victim();
          const other = await suite.volume();
          await suite.pool.snapshot(`${other.name}@s`);
          const { name, path } = await suite.volume();
          {
            using _mount = plant(kind, planted('volumes', name, 'snapshots'), outside);
            const listed = await suite.pool.list();
            expect(listed.find((volume) => volume.name === name)).toMatchObject({ snapshots: 0, bytes: MiB });
            expect(listed.find((volume) => volume.name === other.name)).toMatchObject({ snapshots: 1 });
            expect((await suite.pool.listSnapshots()).map((each) => each.reference)).toContain(
              `${other.name}@s`,
            );
            expect(await suite.pool.listSnapshots(name)).toEqual([]);
            expect((await suite.pool.tree()).map((node) => node.name)).toContain(name);
            expect((await suite.pool.usage()).usages.map((each) => each.reference)).toContain(name);
            expect((await suite.pool.show(name)).problems.join()).toMatch(
              /snapshots was not made by Coppice/,
            );
            expect((await suite.pool.describe()).snapshots).toBe((await suite.pool.listSnapshots()).length);
            const findings = (await suite.pool.check()).filter((finding) => finding.subject === name);
            expect(findings).toMatchObject([{ severity: 'error' }]);
            await refusal(() => suite.pool.snapshot(`${name}@s`), 'damaged');
            expect(await suite.pool.diskPath(name)).toBe(path);
          }
          await suite.pool.remove(name);
          expect((await suite.pool.check()).map((finding) => finding.severity)).not.toContain('error');
          for (const left of readdirSync(planted('.tombstones')))
            rmSync(planted('.tombstones', left), { recursive: true });
          expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
        });
      },
    );

    describe.each(['link', 'directory', 'pipe'] as const)('a %s in the place of a disk', (kind) => {
      test('is reported as damaged, has no path and no size, and does not keep its volume from going', async () => {
        const outside = victim();
        const { name, path } = await suite.volume();
        rmSync(path);
        plant(kind, path, join(outside, 'data', 'disk.raw'));
        await refusal(() => suite.pool.diskPath(name), 'damaged');
        expect((await suite.pool.list()).find((volume) => volume.name === name)).not.toHaveProperty('bytes');
        expect((await suite.pool.show(name)).problems).toHaveLength(1);
        expect(
          (await suite.pool.check())
            .filter((finding) => finding.severity === 'error')
            .map(({ subject }) => subject),
        ).toContain(name);
        expect((await suite.pool.usage()).usages.map((each) => each.reference)).not.toContain(name);
        await refusal(() => suite.pool.clone(name, suite.name(), { bytes: 2 * MiB }), 'damaged');
        await suite.pool.remove(name);
        expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
      });
    });

    test('a link in the place of the data is not followed, and does not keep its volume from going', async () => {
      const outside = victim();
      const { name, path } = await suite.volume();
      suite.backend.tools.removeData(path);
      symlinkSync(join(outside, 'data'), dirname(path));
      expect((await suite.pool.list()).find((volume) => volume.name === name)).not.toHaveProperty('bytes');
      await refusal(() => suite.pool.diskPath(name), 'damaged');
      expect((await suite.pool.check()).map((finding) => finding.subject)).toContain(name);
      expect((await suite.pool.show(name)).problems).toHaveLength(1);
      await suite.pool.remove(name);
      expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
      for (const left of readdirSync(planted('.tombstones')))
        rmSync(planted('.tombstones', left), { recursive: true });
    });

    test('a link in the place of the directory of snapshots, or of one', async () => {
      const outside = victim();
      const { name } = await suite.volume();
      symlinkSync(outside, planted('volumes', name, 'snapshots'));
      await refusal(() => suite.pool.snapshot(`${name}@s`));
      await refusal(() => suite.pool.rollback(`${name}@data`));
      await refusal(() => suite.pool.remove(`${name}@data`));
      expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
      rmSync(planted('volumes', name, 'snapshots'));
      await suite.pool.snapshot(`${name}@s`);
      symlinkSync(outside, planted('volumes', name, 'snapshots', 'evil'));
      await refusal(() => suite.pool.rollback(`${name}@evil`), 'damaged');
      await refusal(() => suite.pool.clone(`${name}@evil`, suite.name()), 'damaged');
      expect((await suite.pool.check()).map((finding) => finding.subject)).toContain(`${name}@evil`);
      expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
    });

    test('things in staging and among the tombstones: the pool still opens, and nothing outside is destroyed', async () => {
      const outside = victim();
      for (const area of ['.staging', '.tombstones']) {
        symlinkSync(outside, planted(area, 'link'));
        writeFileSync(planted(area, 'file'), 'x');
        mkdirSync(planted(area, 'directory'));
        symlinkSync(outside, planted(area, 'directory', 'data'));
        mkdirSync(planted(area, 'with-snapshots', 'snapshots'), { recursive: true });
        symlinkSync(outside, planted(area, 'with-snapshots', 'snapshots', 'evil'));
        writeFileSync(planted(area, 'with-snapshots', 'precious'), 'mine');
      }
      const again = await suite.home.reopen();
      const { name } = await suite.volume();
      await again.remove(name);
      await again.check();
      await again.describe();
      expect(readFileSync(join(outside, 'data', 'disk.raw'), 'utf8')).toBe('precious');
      for (const area of ['.staging', '.tombstones']) {
        expect(readFileSync(planted(area, 'with-snapshots', 'precious'), 'utf8')).toBe('mine');
        for (const each of ['link', 'file', 'directory', 'with-snapshots'])
          rmSync(planted(area, each), { recursive: true, force: true });
      }
    });

    test('a file beside the data of a volume is not destroyed by its removal', async () => {
      const { name } = await suite.volume();
      writeFileSync(planted('volumes', name, 'notes.txt'), 'mine');
      await suite.pool.remove(name);
      await refusal(() => suite.pool.show(name), 'not_found');
      const found = runProgram('find', [suite.home.path, '-name', 'notes.txt']).trim();
      expect(readFileSync(found, 'utf8')).toBe('mine');
      expect((await suite.pool.check()).length).toBeGreaterThan(0);
      rmSync(join(found, '..'), { recursive: true });
    });

    test('metadata of garbage, of another kind, too large: foreign, never a crash', async () => {
      const values = [
        '',
        'not json',
        '{}',
        'null',
        '[]',
        '{"type":"constructor"}',
        '{"type":"pool"}',
        '{"type":"volume"}',
        `"${'x'.repeat(3000)}"`,
      ];
      for (const value of values) {
        const { name } = await suite.volume();
        {
          using directory = new Descriptor(openSync(planted('volumes', name), 'r'));
          writeAttribute(directory.fd, 'user.coppice', value);
        }
        expect((await suite.pool.list()).find((volume) => volume.name === name)?.type, value).toBe('foreign');
        await refusal(() => suite.pool.clone(name, suite.name()), 'damaged');
        await refusal(() => suite.pool.remove(name), 'damaged');
        await suite.pool.tree();
        await suite.pool.usage();
      }
    });

    test('volumes whose lineage leads in a circle are drawn, each once', async () => {
      const [a, b, c] = [await suite.volume(), await suite.volume(), await suite.volume()];
      const parents = [
        [a, b],
        [b, a],
        [c, c],
      ] as const;
      for (const [child, parent] of parents) {
        using directory = new Descriptor(openSync(planted('volumes', child.name), 'r'));
        const metadata = JSON.parse(String(readAttribute(directory.fd, 'user.coppice')));
        const { id } = await suite.pool.show(parent.name);
        writeAttribute(
          directory.fd,
          'user.coppice',
          JSON.stringify({ ...metadata, origin: [{ id, name: parent.name }] }),
        );
      }
      const drawn = JSON.stringify(await suite.pool.tree()).matchAll(/"name":"([^"]*)"/g);
      const circular = [...drawn]
        .map((match) => match[1])
        .filter((name) => [a, b, c].some((volume) => volume.name === name));
      expect(circular.sort()).toEqual([a.name, b.name, c.name].sort());
    });

    test('a disk that was copied over another, and a template made writable, are reported', async () => {
      const [a, b] = [await suite.volume(), await suite.volume()];
      const template = suite.name('t');
      await suite.pool.seal(a.name, template);
      suite.backend.tools.setReadOnly(await suite.pool.diskPath(template), false);
      expect((await suite.pool.show(template)).problems.join()).toMatch(/writable/);
      writePattern(await suite.pool.diskPath(template), 1, 0, 4096);
      runProgram('sync', ['--file-system', suite.home.path]);
      expect((await suite.pool.show(template)).problems.join()).toMatch(/changed since it was sealed/);
      const dataOf = (name: string): string => planted('volumes', name, 'data');
      renameSync(dataOf(a.name), `${dataOf(a.name)}-old`);
      suite.backend.tools.copyData(b.path, a.path, 'writable');
      expect((await suite.pool.show(a.name)).problems.join()).toMatch(/belongs to/);
      const subjects = (await suite.pool.check()).map((finding) => finding.subject);
      expect(subjects).toEqual(expect.arrayContaining([template, a.name]));
      expect(digest(b.path)).toBe(digestOf(Buffer.alloc(0), MiB));
    });
  },
  { needs: 'directories' },
);

/** A directory outside of the pool that looks like a volume, with a file that must stay as it is. */
function victim(): string {
  const path = scratchDirectory('outside');
  mkdirSync(join(path, 'data'));
  writeFileSync(join(path, 'data', 'disk.raw'), 'precious');
  return path;
}

function plant(
  kind: 'link' | 'file' | 'directory' | 'mount' | 'pipe',
  place: string,
  target: string,
): Disposable {
  const isFile = target.endsWith('disk.raw');
  if (kind === 'link') symlinkSync(target, place);
  else if (kind === 'file') writeFileSync(place, 'just a file');
  else if (kind === 'directory') mkdirSync(place);
  else if (kind === 'pipe') runProgram('mkfifo', ['--', place]);
  else {
    if (isFile) writeFileSync(place, '');
    else mkdirSync(place);
    runProgram('mount', ['--bind', '--', target, place]);
  }
  return {
    [Symbol.dispose]() {
      if (kind === 'mount') runProgram('umount', ['--', place]);
    },
  };
}
