import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AdoptedDisk } from '../../src/index.ts';
import { readAttributeByPath, writeAttributeByPath } from '../../src/linux/attributes.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { parseVolumeName } from '../../src/model/names.ts';
import { digest, digestOf, patternBytes, writeAt, writePattern } from '../support/content.ts';
import { mountedFileSystem, sparseFile } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdMapped, holdOpen } from '../support/holder.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

conformance(
  'adopt',
  (suite) => {
    /** A directory on the file system of the pool. */
    const directory = (label = 'disks'): string => {
      const path = join(suite.home.path, suite.name('machines'), label);
      mkdirSync(path, { recursive: true });
      return path;
    };
    /** A disk with data at its start and its end. */
    const disk = (path: string, seed = 1, bytes = 8 * MiB): string => {
      sparseFile(bytes, path);
      writePattern(path, seed, 0, Math.min(bytes, MiB));
      return path;
    };
    const reflink = (from: string, to: string): string => {
      runProgram('cp', ['--reflink=always', '--', from, to]);
      return to;
    };
    const qcow2 = (raw: string, to: string, ...options: string[]): string => {
      runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...options, raw, to]);
      return to;
    };
    /** All that one can see of a file, but when it was read. */
    const looks = (path: string): unknown => {
      const { ino, mode, uid, gid, size, mtimeNs, ctimeNs, atimeNs } = statSync(path, { bigint: true });
      return { ino, mode, uid, gid, size, mtimeNs, ctimeNs, atimeNs, digest: digest(path) };
    };
    const content = async (name: string): Promise<string> => digest(await suite.pool.diskPath(name));
    const refused = async (
      sources: string | string[],
      options: Parameters<typeof suite.pool.adopt>[1] = {},
      code: Parameters<typeof refusal>[1] = 'blocked',
    ): Promise<string> => {
      const before = await suite.pool.list();
      const error = await refusal(() => suite.pool.adopt(sources, options), code);
      expect(await suite.pool.list()).toEqual(before);
      if (code === 'blocked') {
        const { blockers, adopted } = await suite.pool.adopt(sources, { ...options, dryRun: true });
        expect(blockers).toEqual(error.blockers);
        expect(adopted.map(({ file }) => file)).not.toContain(sources);
      }
      return error.message;
    };
    const only = <T>(list: readonly T[]): T => {
      expect(list).toHaveLength(1);
      return list[0] as T;
    };

    const mounted = (image: string): { readonly path: string } & Disposable => {
      if (image.endsWith('-other.img')) {
        spawnSync('e2fsck', ['-fy', image]); // 1: the journal was played
        runProgram('tune2fs', ['-U', 'random', image]);
      }
      const path = `${image}.mnt`;
      mkdirSync(path);
      runProgram('mount', ['-o', 'loop', '--', image, path]);
      return { path, [Symbol.dispose]: () => void runProgram('umount', ['--', path]) };
    };
    /** Changes what a volume says of the file that it was made from. */
    const rewriteRecord = async (
      name: string,
      change: (record: Record<string, unknown>) => Record<string, unknown>,
    ): Promise<void> => {
      const entry = join(await suite.pool.diskPath(name), '..', '..');
      const text = readAttributeByPath(entry, 'user.coppice');
      const metadata = JSON.parse(String(text)) as { adopted: Record<string, unknown> };
      const value = JSON.stringify({ ...metadata, adopted: change(metadata.adopted) });
      writeAttributeByPath(entry, 'user.coppice', value);
    };

    describe('of templates and of disks that were made from them', () => {
      test('keeps names, types and content, shares what was shared, and leaves the files as they are', async () => {
        const [templates, machines] = [directory('templates'), directory('vms')];
        const [base, ...names] = [suite.name('base'), suite.name('vm'), suite.name('vm')];
        const template = disk(join(templates, `${base}.ext4`), 1, 64 * MiB);
        writePattern(template, 2, 16 * MiB, 32 * MiB);
        const files = [template, ...names.map((name) => reflink(template, join(machines, `${name}.raw`)))];
        for (const [index, file] of files.slice(1).entries())
          writePattern(file, 10 + index, 20 * MiB, 64 * 1024);
        chmodSync(files[1] ?? '', 0o640);
        await suite.pool.sync();
        const before = files.map(looks);
        const { space: free } = await suite.pool.describe();

        const planned = await suite.pool.adopt([templates, machines], { dryRun: true });
        expect(planned).toMatchObject({ failed: [], blockers: [], skipped: [] });
        expect((await suite.pool.list()).map(({ name }) => name)).not.toContain(base);
        const { adopted, failed } = await suite.pool.adopt([templates, machines]);
        expect(failed).toEqual([]);
        expect(adopted.map(({ id: _id, ...rest }) => rest)).toEqual(planned.adopted);
        expect(adopted.map(({ name, type, shared }) => [name, type, shared])).toEqual([
          [base, 'template', true],
          ...names.map((name) => [name, 'volume', true]),
        ]);
        expect(files.map(looks)).toEqual(before);
        for (const [index, name] of [base, ...names].entries()) {
          expect(await content(name)).toBe(digest(files[index] ?? ''));
          expect(await suite.pool.show(name)).toMatchObject({
            type: index === 0 ? 'template' : 'volume',
            method: 'import',
            problems: [],
          });
        }
        const { usages } = await suite.pool.usage([base, ...names], { exact: true });
        expect(usages.map(({ exclusiveBytes }) => exclusiveBytes)).toEqual([0, 0, 0]);
        const { space: left } = await suite.pool.describe();
        expect(free.freeBytes - left.freeBytes).toBeLessThan(4 * MiB);

        // They still share with each other when the files are gone, and no longer with anything when all others are.
        await suite.pool.adopt([templates, machines], { removeOriginals: true });
        expect([...readdirSync(templates), ...readdirSync(machines)]).toEqual([]);
        const alone = await suite.pool.usage([base, ...names], { exact: true });
        for (const { exclusiveBytes } of alone.usages) expect(exclusiveBytes).toBeLessThan(MiB);
        const [first = ''] = names;
        writePattern(await suite.pool.diskPath(first), 30, 0, 4096);
        expect(await content(base)).not.toBe(await content(first));
      });

      test('the type that is asked for is the type of all', async () => {
        for (const type of ['template', 'volume'] as const) {
          for (const label of ['templates', 'vms']) {
            const name = suite.name('d');
            const { adopted } = await suite.pool.adopt(disk(join(directory(label), `${name}.img`)), {
              as: type,
            });
            expect(adopted).toMatchObject([{ name, type }]);
          }
        }
        await refused(directory(), { as: 'tree' as 'volume' }, 'invalid_argument');
      });
    });

    test('owner and group keep their rights, others lose theirs', async () => {
      const name = suite.name('d');
      const file = disk(join(directory(), `${name}.raw`));
      chownSync(file, 64055, 108);
      chmodSync(file, 0o664);
      await suite.pool.adopt(file);
      const { mode, uid, gid } = statSync(await suite.pool.diskPath(name));
      expect([mode & 0o7777, uid, gid]).toEqual([0o660, 64055, 108]);
    });

    test('every size: small, odd, huge and sparse', async () => {
      const place = directory();
      const sizes = [1, 511, 2048, 4095, 4096, 4097, MiB + 1, 2 ** 43];
      const names = sizes.map((bytes) => {
        const name = suite.name('size');
        const file = sparseFile(bytes, join(place, `${name}.raw`));
        writeAt(file, patternBytes(bytes, Math.min(bytes, 5000)), 0);
        return name;
      });
      const { adopted } = await suite.pool.adopt(place);
      const found = new Map(adopted.map((each): [string, AdoptedDisk] => [each.name, each]));
      for (const [index, bytes] of sizes.entries()) {
        const rounded = Math.ceil(bytes / 4096) * 4096;
        const name = names[index] ?? '';
        expect(found.get(name)?.bytes).toBe(rounded);
        expect(found.get(name)?.roundedFrom).toBe(rounded === bytes ? undefined : bytes);
        if (bytes < 2 * MiB)
          expect(await content(name)).toBe(digestOf(patternBytes(bytes, Math.min(bytes, 5000)), rounded));
      }
    });

    describe('what needs a copy', () => {
      test('from another file system: refused, unless a copy is asked for', async () => {
        using other = mountedFileSystem('ext4', 256 * MiB);
        const name = suite.name('far');
        const file = disk(join(other.path, `${name}.raw`), 3, 64 * MiB);
        expect(await refused(file)).toContain('another file system');
        const { adopted } = await suite.pool.adopt(file, { copy: true });
        expect(adopted).toMatchObject([{ name, shared: false, type: 'volume' }]);
        expect(await content(name)).toBe(digest(file));
        expect(statSync(await suite.pool.diskPath(name)).blocks * 512).toBeLessThan(2 * MiB);
        await suite.pool.adopt(other.path, { removeOriginals: true });
        expect(readdirSync(other.path)).toEqual(['lost+found']);
      });

      test('qcow2: refused, unless a copy is asked for; snapshots inside are told', async () => {
        const place = directory();
        const [name, other] = [suite.name('q'), suite.name('q')];
        const raw = disk(join(suite.scratch, `${name}.raw`), 4);
        const file = qcow2(raw, join(place, `${name}.qcow2`));
        expect(await refused(place)).toContain('it is qcow2');
        runProgram('qemu-img', ['snapshot', '-c', 'old', file]);
        qcow2(raw, join(place, `${other}.qcow2`), '-c');
        const { adopted } = await suite.pool.adopt(place, { copy: true, as: 'template' });
        expect(adopted).toMatchObject([
          { name, format: 'qcow2', shared: false, snapshotsLeftOut: 1, type: 'template' },
          { name: other, format: 'qcow2', shared: false },
        ]);
        for (const each of [name, other]) expect(await content(each)).toBe(digest(raw));
        const removing = { copy: true, removeOriginals: true };
        const message = await refused(file, removing);
        expect(message).toContain('1 snapshot inside');
        expect(message).toContain('qemu-img convert -l SNAPSHOT');
        await suite.pool.adopt(place, { ...removing, keepGoing: true });
        expect(readdirSync(place)).toEqual([`${name}.qcow2`]);
      });

      test('a format that is not taken is told with what adopt can do about it', async () => {
        const name = suite.name('vmdk');
        const raw = disk(join(suite.scratch, `${name}.raw`));
        const file = join(directory(), `${name}.raw`);
        runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'vmdk', raw, file]);
        const message = await refused(file);
        expect(message).toContain('looks like VMDK');
        expect(message).toContain('convert or unpack it first');
        expect(message).toContain(`coppice import NAME ${file} --format raw`);
      });

      test('a qcow2 that is based on another is refused, and what it is based on stays', async () => {
        const place = directory();
        const name = suite.name('based');
        const base = qcow2(disk(join(suite.scratch, `${name}.raw`), 5), join(place, `${name}.qcow2`));
        const overlay = join(place, `${suite.name('overlay')}.qcow2`);
        runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', overlay]);
        const message = await refused(overlay, { copy: true });
        expect(message).toContain(`only what was changed of ${base}`);
        expect(message).toContain('qemu-img convert');
        expect(await refused(base, { copy: true, removeOriginals: true })).toContain('would be lost');
        const all = { copy: true, keepGoing: true, removeOriginals: true };
        const { adopted, failed } = await suite.pool.adopt(place, all);
        expect(adopted).toEqual([]);
        expect(failed.map(({ file }) => file)).toEqual([base, overlay]);
        runProgram('qemu-img', ['check', '-q', overlay]);
        expect(only((await suite.pool.adopt(base, { copy: true })).adopted).originalRemoved).toBe(false);
      });
    });

    describe('what a qcow2 file beside it needs', () => {
      const overlay = (place: string, backing: string, file = 'overlay.qcow2'): string => {
        const path = join(place, file);
        runProgram('qemu-img', ['create', '-q', '-u', '-f', 'qcow2', '-b', backing, '-F', 'raw', path, '8M']);
        return path;
      };
      const keeps = async (place: string, file: string, why: string): Promise<void> => {
        const before = readdirSync(place);
        expect(await refused(file, { removeOriginals: true })).toContain(why);
        await suite.pool.adopt(place, { removeOriginals: true, keepGoing: true, copy: true });
        expect(readdirSync(place)).toEqual(before);
      };
      const lost = 'would be lost';

      test('is not removed, by whatever path that refers to it', async () => {
        const paths: ReadonlyArray<(file: string, place: string) => string> = [
          (file) => file,
          (file) => `file:${file}`,
          (file, place) => join(place, file),
          (file, place) => `file:${join(place, file)}`,
          (file) => `./../disks/./${file}`,
          (file, place) => {
            symlinkSync(file, join(place, 'current.raw'));
            return 'current.raw';
          },
          (file, place) => {
            symlinkSync(place, join(place, 'here'));
            return `here/${file}`;
          },
        ];
        for (const path of paths) {
          const place = directory();
          const name = `${suite.name('base')}.raw`;
          const file = disk(join(place, name));
          overlay(place, path(name, place));
          await keeps(place, file, lost);
        }
      });

      test('is not removed when it is the data of that, or a link leads to that', async () => {
        const place = directory();
        const name = suite.name('data');
        const file = join(place, `${name}.raw`);
        const options = ['-o', `data_file=${file},data_file_raw=on`];
        runProgram('qemu-img', [
          'create',
          '-q',
          '-f',
          'qcow2',
          ...options,
          join(place, `${name}.qcow2`),
          '8M',
        ]);
        await keeps(place, file, lost);
        const linked = directory();
        const base = disk(join(linked, `${suite.name('linked')}.raw`));
        const elsewhere = overlay(directory(), base);
        symlinkSync(elsewhere, join(linked, 'link.qcow2'));
        await keeps(linked, base, lost);
      });

      test('is not known: nothing beside it is removed', async () => {
        const unclear: ReadonlyArray<[backing: string, why: string]> = [
          ['json:{"driver":"raw","file":{"driver":"file","filename":"x.raw"}}', 'not the path of a file'],
          ['nbd://localhost/x', 'not the path of a file'],
          ['never-made.raw', 'never-made.raw, which is not there'],
        ];
        for (const [backing, why] of unclear) {
          const place = directory();
          const file = disk(join(place, `${suite.name('beside')}.raw`));
          overlay(place, backing, 'overlay.other');
          await keeps(place, file, why);
        }
        const place = directory();
        const file = disk(join(place, `${suite.name('beside')}.raw`));
        writeFileSync(join(place, 'cut.qcow2'), Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'));
        await keeps(place, file, 'ends in the middle of its header');
      });
    });

    describe('names', () => {
      test('one that no volume can have is refused, or given anew', async () => {
        const place = directory();
        const odd = [
          ' .raw',
          'my vm.raw',
          'ü.ext4',
          '-rf.img',
          'a@b.raw',
          'new\nline\u001b[31m.raw',
          `${'x'.repeat(64)}.raw`,
        ];
        for (const [index, file] of odd.entries()) disk(join(place, file), index, MiB);
        const error = await refusal(() => suite.pool.adopt(place), 'blocked');
        expect(error.blockers).toHaveLength(odd.length);
        const names = odd.map(() => suite.name('given'));
        const rename = Object.fromEntries(odd.map((file, index) => [file, names[index] ?? '']));
        const { adopted } = await suite.pool.adopt(place, { rename });
        expect(adopted.map(({ name }) => name).sort()).toEqual([...names].sort());
        for (const [index, name] of names.entries())
          expect(await content(name)).toBe(digest(join(place, odd[index] ?? '')));
      });

      test('ends in capitals mean the same', async () => {
        const place = directory();
        const [raw, image] = [suite.name('RAW'), suite.name('Img')];
        disk(join(place, `${raw}.RAW`), 1, MiB);
        disk(join(place, `${image}.Img`), 2, MiB);
        const { adopted } = await suite.pool.adopt(place);
        expect(adopted.map(({ name }) => name).sort()).toEqual([raw, image].sort());
      });

      test('any file name is adopted under a valid name, or refused with it', async () => {
        const place = directory();
        const anything = fc
          .string({ unit: 'binary', minLength: 1, maxLength: 40 })
          .filter((text) => !/[/\0]/.test(text) && Buffer.byteLength(text) < 200 && text.isWellFormed());
        await fc.assert(
          fc.asyncProperty(anything, async (stem) => {
            const file = disk(join(place, `${stem}.raw`), 1, 4096);
            const { adopted, skipped, blockers } = await suite.pool.adopt(file, { dryRun: true });
            expect(skipped).toEqual([]);
            expect(adopted.length + (blockers?.length ?? 0)).toBe(1);
            for (const { name } of adopted) expect(parseVolumeName(name)).toBe(stem);
          }),
          { numRuns: 50 },
        );
      });

      test('two of one name, and one that is taken, are refused before anything is done', async () => {
        const [place, other] = [directory(), directory()];
        const { name: taken, path } = await suite.volume();
        const [name, free] = [suite.name('twice'), suite.name('free')];
        disk(join(place, `${free}.raw`));
        disk(join(place, `${name}.raw`));
        disk(join(place, `${name}.ext4`));
        disk(join(other, `${taken}.raw`));
        const before = digest(path);
        expect(await refused(place)).toContain(`would all be named ${name}`);
        expect(await refused([other, join(place, `${free}.raw`)])).toContain(`named ${taken}`);
        const rename = { [join(place, `${name}.raw`)]: `${name}-raw`, [`${taken}.raw`]: `${taken}-new` };
        const { adopted } = await suite.pool.adopt([place, other], { rename });
        expect(adopted.map((each) => each.name)).toEqual([free, name, `${name}-raw`, `${taken}-new`]);
        expect(digest(path)).toBe(before);
        await refused(place, { rename: { 'never.raw': 'x' } }, 'invalid_argument');
        await refused(place, { rename: { [`${name}.raw`]: 'not valid' } }, 'invalid_argument');
      });

      test('one file under two names, and one that is given twice', async () => {
        const place = directory();
        const name = suite.name('once');
        const file = disk(join(place, `${name}.raw`));
        expect(only((await suite.pool.adopt([place, file, place], { dryRun: true })).adopted).name).toBe(
          name,
        );
        linkSync(file, join(place, `${name}-too.raw`));
        expect(await refused(place, { removeOriginals: true })).toContain('one file under several names');
      });
    });

    test('what is no disk is skipped with the reason, and refused when it is given itself', async () => {
      const place = directory();
      const name = suite.name('disk');
      disk(join(place, `${name}.raw`));
      const [link, below, hidden, text, pipe] = ['link.raw', 'below', '.hidden.raw', 'text.txt', 'pipe.raw'];
      symlinkSync('/etc/passwd', join(place, link));
      mkdirSync(join(place, below));
      disk(join(place, below, 'deep.raw'));
      disk(join(place, hidden));
      writeFileSync(join(place, text), 'text');
      runProgram('mkfifo', ['--', join(place, pipe)]);
      const { adopted, skipped } = await suite.pool.adopt(place);
      expect(only(adopted).name).toBe(name);
      expect(
        Object.fromEntries(skipped.map(({ file, reason }) => [file.slice(place.length + 1), reason])),
      ).toEqual({
        [link]: 'it is a symbolic link',
        [below]: expect.stringContaining('it is a directory'),
        [hidden]: expect.stringContaining('dot'),
        [text]: 'its name does not end in .ext4, .img, .qcow2, .raw',
        [pipe]: 'it is not a regular file',
      });
      for (const each of [link, pipe]) await refused(join(place, each));
      await refused(join(place, 'never-made.raw'), {}, 'not_found');
      await refused(`${place}/nul\0byte`, {}, 'invalid_argument');
      expect(lstatSync(join(place, link)).isSymbolicLink()).toBe(true);
    });

    test('what is no image, or not what it is called, is refused; the others go on if that is asked for', async () => {
      const place = directory();
      const name = suite.name('sound');
      disk(join(place, `${name}.raw`));
      const raw = disk(join(suite.scratch, `${name}.raw`));
      writeFileSync(join(place, 'empty.ext4'), '');
      writeFileSync(
        join(place, 'packed.img'),
        Buffer.concat([Buffer.from('\x1f\x8b', 'latin1'), patternBytes(1, 5000)]),
      );
      qcow2(raw, join(place, 'guest-wrote-this.raw'));
      copyFileSync(raw, join(place, 'raw-inside.qcow2'));
      writeFileSync(join(place, 'cut.qcow2'), patternBytes(1, 4));
      writeAt(join(place, 'cut.qcow2'), Buffer.from('QFI\xfb', 'latin1'), 0);
      const error = await refusal(() => suite.pool.adopt(place, { copy: true }), 'blocked');
      expect(error.blockers).toHaveLength(5);
      const options = { copy: true, keepGoing: true };
      const { adopted, failed } = await suite.pool.adopt(place, options);
      expect(only(adopted)).toMatchObject({ name, originalRemoved: false });
      expect(failed.map(({ file }) => file.slice(place.length + 1))).toEqual([
        'cut.qcow2',
        'empty.ext4',
        'guest-wrote-this.raw',
        'packed.img',
        'raw-inside.qcow2',
      ]);
      expect(readdirSync(place)).toHaveLength(6);
      rmSync(join(place, 'cut.qcow2')); // which might need any of the others
      const again = await suite.pool.adopt(place, { ...options, removeOriginals: true });
      expect(only(again.adopted)).toMatchObject({ name, originalRemoved: true });
      expect(readdirSync(place)).toHaveLength(4);
    });

    test('the disk of a volume, by whatever path, is refused', async () => {
      const { path } = await suite.volume();
      const snapshotted = await suite.volume();
      await suite.pool.snapshot(`${snapshotted.name}@s`);
      for (const each of [path, join(path, '..'), await suite.pool.diskPath(`${snapshotted.name}@s`)])
        expect(await refused(each, { removeOriginals: true }, 'invalid_argument')).toContain(
          'belongs to a pool',
        );
      await using other = await suite.backend.makePool();
      await other.pool.create('theirs', { bytes: MiB });
      const theirs = await other.pool.diskPath('theirs');
      await refused(theirs, { copy: true, removeOriginals: true }, 'invalid_argument');
      expect(statSync(theirs).size).toBe(MiB);
    });

    describe('a disk in use', () => {
      test('for writing is refused by the name of who uses it, and forced it keeps its original', async () => {
        const place = directory();
        const name = suite.name('used');
        const file = disk(join(place, `${name}.raw`));
        await using holder = await holdOpen(file);
        expect(await refused(place)).toContain(`process ${holder.pid}`);
        const { adopted } = await suite.pool.adopt(place, { force: true, removeOriginals: true });
        expect(only(adopted)).toMatchObject({ name, shared: true, originalRemoved: false });
        expect(await content(name)).toBe(digest(file));
        const packed = qcow2(file, join(place, `${suite.name('used')}.qcow2`));
        await using _other = await holdOpen(packed);
        expect(await refused(packed, { force: true, copy: true })).toContain('different moments');
      });

      test('for reading is adopted, and not removed', async () => {
        for (const hold of [(path: string) => holdOpen(path, 'read'), holdMapped]) {
          const name = suite.name('read');
          const file = disk(join(directory(), `${name}.raw`));
          {
            await using _holder = await hold(file);
            await refused(file, { removeOriginals: true });
            expect(only((await suite.pool.adopt(file)).adopted).name).toBe(name);
            await refused(file, { removeOriginals: true });
          }
          await suite.pool.adopt(file, { removeOriginals: true });
          await refused(file, {}, 'not_found');
        }
      });

      test('by a loop device is refused', async () => {
        const file = disk(join(directory(), `${suite.name('loop')}.raw`));
        const device = runProgram('losetup', ['--find', '--show', '--', file]).trim();
        try {
          expect(await refused(file)).toContain(device);
        } finally {
          runProgram('losetup', ['--detach', device]);
        }
      });
    });

    describe('again', () => {
      test('makes nothing twice, also when the volume was renamed or written to, and may then remove', async () => {
        const place = directory();
        const [a, b] = [suite.name('a'), suite.name('b')];
        disk(join(place, `${a}.raw`));
        disk(join(place, `${b}.raw`));
        const first = await suite.pool.adopt(place);
        await suite.pool.rename(a, `${a}-renamed`);
        writePattern(await suite.pool.diskPath(b), 9, 0, 4096);
        const before = await suite.pool.list();
        const again = await suite.pool.adopt(place, { removeOriginals: true });
        expect(again.adopted).toMatchObject([
          { name: `${a}-renamed`, before: true, originalRemoved: true, id: first.adopted[0]?.id },
          { name: b, before: true, originalRemoved: true, id: first.adopted[1]?.id },
        ]);
        expect(await suite.pool.list()).toEqual(before);
        expect(readdirSync(place)).toEqual([]);
      });

      test('what has changed since is neither adopted over the volume nor removed', async () => {
        const name = suite.name('changed');
        const file = disk(join(directory(), `${name}.raw`));
        await suite.pool.adopt(file);
        const adopted = await content(name);
        writePattern(file, 2, 0, 4096);
        for (const removeOriginals of [false, true])
          expect(await refused(file, { removeOriginals })).toContain(`has changed since ${name} was adopted`);
        expect(statSync(file).size).toBe(8 * MiB);
        expect(await content(name)).toBe(adopted);
        const renamed = await suite.pool.adopt(file, { rename: { [`${name}.raw`]: `${name}-2` } });
        expect(only(renamed.adopted).name).toBe(`${name}-2`);
        expect(await content(`${name}-2`)).toBe(digest(file));
      });

      test('a file of another file system with the same number, size and time is not taken for it; after a new mount it is', async () => {
        const name = suite.name('number');
        const copies = [join(suite.scratch, `${name}-same.img`), join(suite.scratch, `${name}-other.img`)];
        {
          using origin = mountedFileSystem('ext4', 64 * MiB);
          disk(join(origin.path, `${name}.raw`));
          await suite.pool.adopt(origin.path, { copy: true });
          runProgram('fsfreeze', ['--freeze', origin.path]);
          for (const copy of copies) copyFileSync(origin.file, copy);
          runProgram('fsfreeze', ['--unfreeze', origin.path]);
        }
        for (const [index, copy] of copies.entries()) {
          using place = mounted(copy);
          const [same, file] = [index === 0, join(place.path, `${name}.raw`)];
          if (same) await suite.pool.adopt(place.path, { removeOriginals: true });
          else expect(await refused(file, { copy: true, removeOriginals: true })).toContain('not known');
          expect(readdirSync(place.path)).toEqual(same ? ['lost+found'] : ['lost+found', `${name}.raw`]);
        }
      });

      test('a record that does not say of which file system is not believed', async () => {
        const name = suite.name('unsaid');
        const file = disk(join(directory(), `${name}.raw`));
        await suite.pool.adopt(file);
        await rewriteRecord(name, ({ filesystem: _, ...rest }) => rest);
        expect(await refused(file, { removeOriginals: true })).toContain('not known');
        expect(statSync(file).size).toBe(8 * MiB);
      });

      test('a volume whose disk is gone or smaller keeps its original', async () => {
        const names = [suite.name('cut'), suite.name('gone')];
        for (const [index, name] of names.entries()) {
          const file = disk(join(directory(), `${name}.raw`));
          await suite.pool.adopt(file);
          const path = await suite.pool.diskPath(name);
          if (index === 0) truncateSync(path, 4 * MiB);
          else rmSync(path);
          const message = await refused(file, { removeOriginals: true });
          expect(message).toContain(index === 0 ? `the disk of ${name} is smaller` : `${name} has no disk`);
          expect(statSync(file).size).toBe(8 * MiB);
        }
      });

      test('a volume of that name which was made otherwise is never taken for it', async () => {
        const name = suite.name('other');
        const file = disk(join(directory(), `${name}.raw`));
        await suite.pool.adopt(file);
        await suite.pool.clone(name, `${name}-clone`);
        await suite.pool.remove(name);
        await suite.pool.rename(`${name}-clone`, name);
        await refused(file, { removeOriginals: true });
        expect(digest(file)).toBe(await content(name));
      });

      test('at once, through the pool opened twice: each disk is made once', async () => {
        const place = directory();
        const names = Array.from({ length: 12 }, () => suite.name('many'));
        for (const name of names) disk(join(place, `${name}.raw`), 1, MiB);
        await using pool = await suite.home.reopen();
        const both = await Promise.all([
          pool.adopt(place, { removeOriginals: true }),
          suite.pool.adopt(place).catch(() => undefined),
        ]);
        expect(both[0]?.failed).toEqual([]);
        const there = (await suite.pool.list()).map(({ name }) => name);
        expect(there.filter((name) => names.includes(name)).sort()).toEqual([...names].sort());
        expect(readdirSync(place)).toEqual([]);
      });
    });

    test('cancelled between two disks: those that are made stay, and it can go on', async () => {
      const place = directory();
      const names = Array.from({ length: 4 }, (_, index) => `${suite.name('stop')}-${index}`);
      for (const name of names) disk(join(place, `${name}.raw`), 1, MiB);
      const controller = new AbortController();
      const first = await suite.pool.adopt(place, {
        signal: controller.signal,
        removeOriginals: true,
        onProgress: ({ fraction }) => fraction >= 0.5 && controller.abort(),
      });
      expect(first).toMatchObject({ cancelled: true, failed: [] });
      expect(first.adopted).toHaveLength(2);
      expect(readdirSync(place)).toHaveLength(2);
      const rest = await suite.pool.adopt(place);
      expect(rest.adopted.map(({ name }) => name).sort()).toEqual(names.slice(2).sort());
    });

    test('a copy that is cancelled leaves nothing of it', async () => {
      const name = suite.name('q');
      const file = qcow2(
        disk(join(suite.scratch, `${name}.raw`), 1, 64 * MiB),
        join(directory(), `${name}.qcow2`),
      );
      const controller = new AbortController();
      const stopped = await suite.pool.adopt(file, {
        copy: true,
        signal: controller.signal,
        onProgress: ({ fraction }) => fraction > 0 && controller.abort(),
      });
      expect(stopped).toEqual({ adopted: [], skipped: [], failed: [], cancelled: true });
      await refusal(() => suite.pool.show(name), 'not_found');
    });

    test('an empty directory is nothing to do', async () => {
      expect(await suite.pool.adopt(directory())).toEqual({ adopted: [], skipped: [], failed: [] });
    });
  },
  { needs: 'directories' },
);
