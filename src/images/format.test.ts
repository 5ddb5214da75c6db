import { openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Descriptor } from '../linux/files.ts';
import { CoppiceError } from '../model/errors.ts';
import { detectFormat, type ImageFormat } from './format.ts';

const file = join(tmpdir(), `coppice-format-${process.pid}`);
afterEach(() => rmSync(file, { force: true }));

function detected(content: string | Buffer, declared?: ImageFormat): string {
  writeFileSync(file, typeof content === 'string' ? Buffer.from(content, 'latin1') : content);
  using descriptor = new Descriptor(openSync(file, 'r'));
  try {
    return detectFormat(descriptor.fd, file, declared);
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

describe('the format of an image', () => {
  test.each([
    ['', 'raw'],
    ['\0'.repeat(64), 'raw'],
    ['\xeb\x63\x90', 'raw'],
    ['QFI\xfb\0\0\0\x03', 'qcow2'],
    ['QFI', 'raw'],
  ])('that begins with %j is %s', (content, format) => {
    expect(detected(content)).toBe(format);
    expect(detected(content, format as ImageFormat)).toBe(format);
    expect(detected(content, format === 'raw' ? 'qcow2' : 'raw')).toMatch(/^invalid_image: .*--format/);
  });

  test.each([
    ['KDMV', 'VMDK'],
    ['# Disk DescriptorFile\n', 'VMDK descriptor'],
    ['vhdxfile', 'VHDX'],
    ['conectix', 'VHD'],
    ['QED\0', 'QED'],
    ['<<< Oracle VM VirtualBox Disk Image >>>', 'VDI'],
    ['\x1f\x8b\x08', 'gzip'],
    ['\xfd7zXZ\0', 'xz'],
    ['\x28\xb5\x2f\xfd', 'zstd'],
    ['BZh9', 'bzip2'],
    ['PK\x03\x04', 'zip'],
  ])('that begins with %j looks like %s, and is taken only when it is said to be raw', (content, name) => {
    expect(detected(content)).toContain(`looks like ${name},`);
    expect(detected(content, 'qcow2')).toMatch(/^invalid_image/);
    expect(detected(content, 'raw')).toBe('raw');
  });
});
