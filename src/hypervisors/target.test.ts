import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CoppiceError } from '../model/errors.ts';
import { checkHypervisorTarget, parseHypervisorTarget } from './target.ts';

test.each([
  ['qmp:/run/q.sock', { kind: 'qmp', socket: '/run/q.sock' }],
  ['qmp:/run/a:b.sock,device=#block123', { kind: 'qmp', socket: '/run/a:b.sock', device: '#block123' }],
  ['firecracker:/run/f.sock,drive=root_fs', { kind: 'firecracker', socket: '/run/f.sock', drive: 'root_fs' }],
  [
    'cloud-hypervisor:/run/c.sock,disk=_disk0',
    { kind: 'cloud-hypervisor', socket: '/run/c.sock', disk: '_disk0' },
  ],
  ['hook:/usr/bin/tell me, please', { kind: 'hook', command: ['/usr/bin/tell me, please'] }],
])('reads %s', (text, target) => {
  expect(parseHypervisorTarget(text)).toEqual(target);
});

test.each([
  '',
  'qmp',
  'qmp:',
  'qmp:run/q.sock',
  'qmp:/run/q.sock,drive=root',
  'qmp:/run/q.sock,device=',
  'qmp:/run/q.sock,device=a,device=b',
  'qmp:/run/q.sock,socket=/run/other',
  'qmp:/run/q.sock,device=a b',
  'qmp:/run/q\0.sock',
  'firecracker:/run/f.sock',
  'firecracker:/run/f.sock,drive=../vm',
  'firecracker:/run/f.sock,drive=a/b',
  'firecracker:/run/f.sock,drive=a\r\nHost: x',
  'cloud-hypervisor:/run/c.sock',
  'hook:',
  'hook:tell',
  'vmware:/run/v.sock',
])('refuses %j', (text) => {
  expect(() => parseHypervisorTarget(text)).toThrow(CoppiceError);
});

test.each([
  null,
  'qmp:/run/q.sock',
  {},
  { kind: 'hook', command: [] },
  { kind: 'hook', command: ['/bin/true', 5] },
  { kind: 'hook', command: ['/bin/true'], shell: true },
  { kind: 'qmp', socket: 5 },
  { kind: 'qmp', socket: '/run/q.sock', device: { toString: 'x' } },
  { kind: 'constructor', socket: '/run/q.sock' },
])('refuses from outside %j', (value) => {
  expect(() => checkHypervisorTarget(value)).toThrow(CoppiceError);
});

test('whatever is written, it is refused in a sentence or can be meant', () => {
  fc.assert(
    fc.property(fc.constantFrom('qmp:', 'firecracker:', 'hook:', ''), fc.string(), (kind, text) => {
      try {
        const target = parseHypervisorTarget(kind + text);
        expect(checkHypervisorTarget(target)).toEqual(target);
      } catch (error) {
        expect(error).toBeInstanceOf(CoppiceError);
      }
    }),
  );
});
