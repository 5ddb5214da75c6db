import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { scratchDirectory } from '../../test/support/devices.ts';
import { openTrusted } from './trusted-path.ts';

const stranger = 12345;
const other = 23456;

describe.skipIf(process.geteuid?.() !== 0)('what others could have put there', () => {
  const opened = (path: string): string => {
    using file = openTrusted(path, 'the file');
    return file.path;
  };
  const place = (): { directory: string; file: string } => {
    const directory = join(scratchDirectory('trusted'), 'inner');
    mkdirSync(directory);
    const file = join(directory, 'file');
    writeFileSync(file, '');
    return { directory, file };
  };

  test('is taken from directories that only root or its owner can write to', () => {
    const { directory, file } = place();
    expect(opened(file)).toMatch(/^\/proc\/self\/fd\/\d+$/);
    chownSync(directory, stranger, stranger);
    chownSync(file, stranger, stranger);
    opened(file);
  });

  test.each([0o777, 0o775, 0o707, 0o720])('a directory of mode %o is refused by name', (mode) => {
    const { directory, file } = place();
    chmodSync(directory, mode);
    if ((mode & 0o022) === 0) return;
    expect(() => opened(file)).toThrow(`write to the directory ${directory} `);
    expect(() => opened(join(directory, '..', 'inner', 'file'))).toThrow(directory);
  });

  test('in a sticky directory only what is ours or of root is taken', () => {
    const { directory, file } = place();
    chmodSync(directory, 0o1777);
    opened(file);
    chownSync(file, stranger, stranger);
    expect(() => opened(file)).toThrow(`${file} lies in a directory where everybody may make files`);
  });

  test('who owns the directory can put only what is his there', () => {
    const { directory, file } = place();
    chownSync(directory, stranger, stranger);
    expect(() => opened(file)).toThrow(
      `${directory} belongs to user ${stranger}, and what lies there to user 0`,
    );
    chownSync(file, other, other);
    expect(() => opened(file)).toThrow(`${directory} belongs to user ${stranger}`);
  });

  test('links are followed where they are ours, and the way behind them is looked at, too', () => {
    const { directory, file } = place();
    const elsewhere = scratchDirectory('trusted');
    const link = join(elsewhere, 'link');
    symlinkSync(directory, link);
    opened(join(link, 'file'));
    chmodSync(directory, 0o777);
    expect(() => opened(join(link, 'file'))).toThrow(`write to the directory ${directory} `);
    chmodSync(directory, 0o755);
    chownSync(elsewhere, stranger, stranger);
    expect(() => opened(join(link, 'file'))).toThrow(`${elsewhere} belongs to user ${stranger}`);
    expect(() => opened(file)).not.toThrow();
  });

  test('links in a circle, what is not there, and relative paths are refused', () => {
    const { directory } = place();
    symlinkSync('circle', join(directory, 'circle'));
    expect(() => opened(join(directory, 'circle'))).toThrow('too many links');
    expect(() => opened(join(directory, 'absent'))).toThrow('There is no ');
    expect(() => opened('file')).toThrow('must begin with "/"');
  });
});
