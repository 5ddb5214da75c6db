import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { repository } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';

/**
 * The public contract: well-formed, documented in every part, compatible with what was released, and what the code is made from. Nothing
 * here needs a network: what was released is an image beside the contract (CONTRIBUTING.md says when it is made anew).
 */

const baseline = join(repository, 'proto/baseline.binpb');
const generated = 'src/api/generated';

describe('the contract', () => {
  test('keeps to the rules of buf.yaml', () => {
    expect(buf(repository, 'lint')).toBe('exit code 0\n');
  });

  test('is formatted', () => {
    expect(buf(repository, 'format', '--diff', '--exit-code')).toBe('exit code 0\n');
  });

  test('breaks nothing that was released', () => {
    expect(buf(repository, 'breaking', '--exclude-imports', '--against', baseline)).toBe('exit code 0\n');
  });

  test('is what the code in src/api/generated is made from', () => {
    const made = scratchDirectory('generated');
    expect(buf(repository, 'generate', '--output', made)).toBe('exit code 0\n');
    expect(contents(join(repository, generated))).toEqual(contents(join(made, generated)));
  });
});

describe('a copy of the contract', () => {
  let copy = '';
  beforeEach(() => {
    copy = scratchDirectory('contract');
    for (const path of ['proto', 'buf.yaml'])
      cpSync(join(repository, path), join(copy, path), { recursive: true });
  });

  const change = (file: string, from: string | RegExp, to: string): void => {
    const path = join(copy, 'proto/coppice/v1', file);
    const text = readFileSync(path, 'utf8');
    const changed = text.replace(from, to);
    expect(changed, `${file} has ${from}`).not.toBe(text);
    writeFileSync(path, changed);
  };

  test('passes as it is', () => {
    expect(buf(copy, 'lint')).toBe('exit code 0\n');
    expect(buf(copy, 'breaking', '--exclude-imports', '--against', baseline)).toBe('exit code 0\n');
  });

  test.each<[what: string, file: string, from: string | RegExp, message: string, to?: string]>([
    ['a field is removed', 'resources.proto', /^ {2}string uid = 2;\n/m, 'Previously present field "2"'],
    [
      'a field has another number',
      'resources.proto',
      'string uid = 2;',
      'Previously present field "2"',
      'string uid = 99;',
    ],
    ['a field has another type', 'resources.proto', 'string uid = 2;', 'changed type', 'int64 uid = 2;'],
    [
      'a method is removed',
      'volume_service.proto',
      / {2}rpc Seal\([^}]*}\n/,
      'Previously present RPC "Seal"',
    ],
    [
      'a value is removed',
      'resources.proto',
      /^ {2}DURABILITY_DEFERRED = 2;\n/m,
      'Previously present enum value "2"',
    ],
  ])('is found to break clients when %s', (_, file, from, message, to) => {
    change(file, from, to ?? '');
    const output = buf(copy, 'breaking', '--exclude-imports', '--against', baseline);
    expect(output).toContain('exit code 100\n');
    expect(output).toContain(message);
  });

  test.each([
    ['a field', 'resources.proto', /^ {2}\/\/ .*\n(?= {2}string uid = 2;)/m, 'Field "uid"'],
    ['a message', 'resources.proto', /^\/\/ .*\n(?=message Origin)/m, 'Message "Origin"'],
    ['a method', 'volume_service.proto', /^( {2}\/\/ .*\n)+(?= {2}rpc Seal)/m, 'RPC "Seal"'],
    [
      'a value',
      'resources.proto',
      /^ {2}\/\/ .*\n(?= {2}VOLUME_KIND_DISK)/m,
      'Enum value "VOLUME_KIND_DISK"',
    ],
  ])('is refused when %s has no comment', (_, file, comment, what) => {
    change(file, comment, '');
    const output = buf(copy, 'lint');
    expect(output).toContain('exit code 100\n');
    expect(output).toContain(what);
  });

  test('may have a new field', () => {
    change('resources.proto', /^message Origin {\n/m, 'message Origin {\n  // New.\n  string colour = 99;\n');
    expect(buf(copy, 'breaking', '--exclude-imports', '--against', baseline)).toBe('exit code 0\n');
  });
});

/** The exit code, and all that it says. */
function buf(directory: string, ...args: readonly string[]): string {
  const binaries = join(repository, 'node_modules/.bin');
  const { status, stdout, stderr } = spawnSync(join(binaries, 'buf'), args, {
    cwd: directory,
    encoding: 'utf8',
    env: {
      ...process.env,
      PATH: `${binaries}:${process.env['PATH']}`,
      BUF_CACHE_DIR: scratchDirectory('buf-cache'),
    },
  });
  return `exit code ${status}\n${stdout}${stderr}`;
}

function contents(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    files
      .map((file) => join(file.parentPath, file.name))
      .sort()
      .map((path) => [path.slice(folder.length), readFileSync(path, 'utf8')]),
  );
}
