import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { writePattern } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { holdOpen } from '../support/holder.ts';
import { coppice, onTerminal, shell } from './command.ts';
import { commandLineDirectory, done, refused } from './session.ts';

const MiB = 2 ** 20;

const directory = commandLineDirectory();

describe('a pool', () => {
  test('is written into fstab and taken out again, and the rest of the file stays', () => {
    const own = join(directory, 'persisted');
    const [fstab, units] = [join(directory, 'fstab'), scratchDirectory('units')];
    const files = ['--fstab', fstab, '--unit-directory', units];
    writeFileSync(fstab, '# kept\n/dev/sda1 / ext4 defaults 0 1\n');
    const before = readFileSync(fstab, 'utf8');
    done(coppice(own, 'pool', 'create', own, '--size', '4G'));
    expect(done(coppice(own, 'pool', 'persist', ...files))).toMatch(/^Wrote to .*\n.*,nofail,/);
    expect(done(coppice(own, 'pool', 'persist', ...files))).toMatch(/^Already in /);
    done(coppice(own, 'pool', 'persist', '--systemd', ...files));
    expect(readdirSync(units)).toHaveLength(1);
    done(coppice(own, 'pool', 'destroy', own, '--yes', ...files));
    expect(readFileSync(fstab, 'utf8')).toBe(before);
    expect(readdirSync(units)).toEqual([]);
    expect(existsSync(`${own}.img`)).toBe(false);
  });

  test('that promises more than its host has is warned of, in words and as JSON', () => {
    const own = join(directory, 'promising');
    const made = coppice(own, 'pool', 'create', '--size', '15T');
    expect(made.code).toBe(0);
    expect(made.stderr).toMatch(/^coppice: warning: .*may grow to 15\.0 TiB, but .*\nTo mount it/);
    done(coppice(own, 'pool', 'destroy', own, '--yes'));
    const asJson = coppice(own, 'pool', 'create', '--size', '15T', '--json');
    expect(asJson.stderr).toBe('');
    expect(JSON.parse(asJson.stdout)).toMatchObject({ warnings: [expect.stringContaining('may grow')] });
    done(coppice(own, 'pool', 'destroy', own, '--yes'));
  });

  test('says how to enable its unit in words that a shell reads as they are', () => {
    const own = join(directory, 'my pool-1');
    const units = scratchDirectory('units');
    done(coppice(own, 'pool', 'create', '--size', '4G'));
    const said = done(coppice(own, 'pool', 'persist', '--systemd', '--unit-directory', units));
    const line =
      /^ {2}systemctl daemon-reload && (systemctl enable --now .*\.mount.*)$/m.exec(said)?.[1] ?? '';
    expect(done(shell(own, line.replace('systemctl', 'printf "%s\\n"')))).toBe(
      `enable\n--now\n${readdirSync(units)[0]}\n`,
    );
    expect(said).toContain(`\n  RequiresMountsFor="${own}"\n`);
    done(coppice(own, 'pool', 'destroy', own, '--yes', '--unit-directory', units));
  });

  test('names what is in the way of its destruction without being asked to destroy it', async () => {
    const own = join(directory, 'busy');
    done(coppice(own, 'pool', 'create', '--size', '4G'));
    done(coppice(own, 'create', 'v', '--size', '1M'));
    await using holder = await holdOpen(`${own}/volumes/v/data/disk.raw`);
    const dry = done(coppice(own, 'pool', 'destroy', own, '--dry-run'));
    expect(dry).toMatch(/^Would destroy .*1 volume \(v\).*\nIn the way: .*disk\.raw is open in process /);
    expect(dry).toContain(`process ${holder.pid}`);
    expect(JSON.parse(done(coppice(own, 'pool', 'destroy', own, '--dry-run', '--json')))).toMatchObject({
      blockers: [{ kind: 'open' }],
    });
    refused(coppice(own, 'pool', 'destroy', own, '--yes'), 5);
    await holder[Symbol.asyncDispose]();
    done(coppice(own, 'pool', 'destroy', own, '--yes'));
  });

  test('that is preallocated keeps its blocks when pool create mounts it again', () => {
    const own = join(directory, 'reserved');
    done(coppice(own, 'pool', 'create', '--size', '512M', '--preallocate'));
    runProgram('umount', ['--', own]);
    done(coppice(own, 'pool', 'create'));
    expect(readMounts().findLast(({ mountPoint }) => mountPoint === own)?.options).not.toContain(
      'discard=async',
    );
    done(coppice(own, 'create', 'v', '--size', '64M'));
    writePattern(`${own}/volumes/v/data/disk.raw`, 1, 0, 32 * MiB);
    truncateSync(`${own}/volumes/v/data/disk.raw`, 0);
    runProgram('sync', ['-f', own]);
    expect(statSync(`${own}.img`).blocks * 512).toBeGreaterThanOrEqual(512 * MiB);
    done(coppice(own, 'pool', 'destroy', own, '--yes'));
  });

  const script = existsSync('/usr/bin/script');
  describe.skipIf(!script)(`on a terminal${script ? '' : ' (skipped: no script(1) to make one)'}`, () => {
    const own = (): string => join(directory, 'doomed');
    const prompt = 'Type the path of the pool to go on: ';
    const destroy = (typed: string): ReturnType<typeof onTerminal> =>
      onTerminal(own(), `coppice pool destroy ${own()}`, prompt, typed);

    test('is destroyed only when its path is typed', async () => {
      done(coppice(own(), 'pool', 'create', '--size', '4G'));
      done(coppice(own(), 'create', 'precious', '--size', '1M'));
      for (const [typed, answer] of [
        ['/somewhere/else\n', `That is not ${own()}; nothing was changed.`],
        ['yes\n', `That is not ${own()}; nothing was changed.`],
        ['\n', `That is not ${own()}; nothing was changed.`],
        ['\x03', 'Nothing was typed; nothing was changed.'],
        ['\x04', 'Nothing was typed; nothing was changed.'],
      ] as const) {
        const { code, screen } = await destroy(typed);
        expect(screen).toContain('1 volume (precious)');
        expect(screen).toContain(answer);
        expect(screen).not.toContain(' at ');
        expect(code).toBe(130);
        done(coppice(own(), 'path', 'precious'));
      }
      const { code, screen } = await destroy(`${own()}\n`);
      expect(screen).toContain(`Destroyed the pool ${own()}`);
      expect(code).toBe(0);
      expect(existsSync(own())).toBe(false);
      expect(existsSync(`${own()}.img`)).toBe(false);
    });
  });
});
