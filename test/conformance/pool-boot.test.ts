import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { destroyPool, persistPool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { poolPlace } from '../support/pool-place.ts';
import { fileSystems } from './backends.ts';

const GiB = 2 ** 30;

const hasSystemd = existsSync('/usr/bin/systemd-analyze') && existsSync('/usr/bin/systemd-escape');
const generator = '/usr/lib/systemd/system-generators/systemd-fstab-generator';

describe.each(fileSystems)('on $name', (backend) => {
  const { createPool } = backend;

  describe('a mount unit', () => {
    test.each([
      ['plain', ''],
      ['with space', '"'],
      ['50%', ''],
      ['back\\slash', '"'],
      ['quote"s\'', '"'],
      ['semi ; colon', '"'],
    ])('for a path like %j says it as systemd reads it', (label, quote) => {
      const directory = join(scratchDirectory(), label);
      mkdirSync(directory);
      using home = poolPlace(directory);
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      const persisted = persistPool(path, { ...boot, systemd: true });
      const said = (text: string): string => text.replaceAll('%', '%%');
      const word = (text: string): string =>
        `${quote}${quote === '' ? said(text) : said(text).replace(/["\\]/g, '\\$&')}${quote}`;
      expect(persisted.requiresMountsFor).toBe(`RequiresMountsFor=${word(path)}`);
      expect(persisted.text.split('\n')).toEqual(
        expect.arrayContaining([
          `Description=Coppice pool ${said(path)}`,
          `RequiresMountsFor=${word(directory)}`,
          `What=${said(file)}`,
          `Where=${said(path)}`,
        ]),
      );
      if (hasSystemd) {
        const name = runProgram('systemd-escape', ['--path', '--suffix=mount', '--', path]).trimEnd();
        expect(basename(persisted.file)).toBe(name);
        expect(complaints(persisted.file)).toBe('');
        const service = join(boot.unitDirectory, 'needs-pool.service');
        writeFileSync(service, `[Unit]\n${persisted.requiresMountsFor}\n[Service]\nExecStart=/bin/true\n`);
        expect(complaints(service)).toBe('');
      }
    });

    test('is taken out with what enabled it; what others wrote stays', () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      const unit = persistPool(path, { ...boot, systemd: true }).file;
      const wants = join(boot.unitDirectory, 'multi-user.target.wants');
      mkdirSync(wants);
      symlinkSync(unit, join(wants, basename(unit)));
      symlinkSync('/lib/systemd/system/cron.service', join(wants, 'cron.service'));
      writeFileSync(join(boot.unitDirectory, 'other.mount'), '');
      destroyPool(path, boot);
      expect(readdirSync(boot.unitDirectory).sort()).toEqual(['multi-user.target.wants', 'other.mount']);
      expect(readdirSync(wants)).toEqual(['cron.service']);
    });

    test('that somebody else wrote for the directory stays', () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      const unit = persistPool(path, { ...boot, systemd: true, dryRun: true }).file;
      writeFileSync(unit, '[Mount]\nWhat=/other\n');
      destroyPool(path, boot);
      expect(readFileSync(unit, 'utf8')).toBe('[Mount]\nWhat=/other\n');
    });

    test('can not be written for a path with a line break', async () => {
      const directory = join(scratchDirectory(), 'two\nlines');
      mkdirSync(directory);
      using home = poolPlace(directory);
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      await refusal(() => persistPool(path, { ...boot, systemd: true }), 'unsupported');
    });
  });

  describe('a line in fstab', () => {
    test.each(['with space', 'with,comma', '50%', 'quote"s'])(
      'for a file in a directory like %j is read by mount and by systemd',
      (label) => {
        const directory = join(scratchDirectory(), label);
        mkdirSync(directory);
        using home = poolPlace(directory);
        const { path, file, boot } = home;
        createPool({ path, file, bytes: GiB });
        persistPool(path, boot);
        runProgram('umount', ['--', path]);
        runProgram('mount', ['--fstab', boot.fstab, '--all']);
        destroyPool(path, boot);
        expect(readFileSync(boot.fstab, 'utf8')).toBe('');
      },
    );

    test.skipIf(!existsSync(generator))('with a space in it is one path for systemd', () => {
      const directory = join(scratchDirectory(), 'with space');
      mkdirSync(directory);
      using home = poolPlace(directory);
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      persistPool(path, boot);
      const units = scratchDirectory();
      runProgram('env', [`SYSTEMD_FSTAB=${boot.fstab}`, generator, units, units, units]);
      const unit = readdirSync(units).find((name) => name.endsWith('.mount')) ?? '';
      expect(readFileSync(join(units, unit), 'utf8')).toContain(`RequiresMountsFor="${directory}"\n`);
    });

    test('stays where it is, and another without an end of line is not touched', () => {
      using home = poolPlace();
      const { path, file, boot } = home;
      createPool({ path, file, bytes: GiB });
      const { text } = persistPool(path, boot);
      const all = `${text}\n/a /b ext4 defaults 0 0`;
      writeFileSync(boot.fstab, all);
      expect(persistPool(path, boot).changed).toBe(false);
      expect(readFileSync(boot.fstab, 'utf8')).toBe(all);
      destroyPool(path, boot);
      expect(readFileSync(boot.fstab, 'utf8')).toBe('/a /b ext4 defaults 0 0');
    });
  });
});

/** What systemd says about a unit beside what is wrong with this machine. */
function complaints(unit: string): string {
  return runProgram('sh', [
    '-c',
    'systemd-analyze verify --man=no "$1" 2>&1 | grep -F "$2" || true',
    'sh',
    unit,
    basename(unit),
  ]);
}
