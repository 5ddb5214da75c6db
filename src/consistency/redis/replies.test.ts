import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Reply, takeReply } from './replies.ts';

const { reply } = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof(
    { depthSize: 'small', maxDepth: 3 },
    fc.string({ unit: 'binary' }),
    fc.integer(),
    fc.constant(null),
    fc.array(tie('reply'), { maxLength: 5 }),
  ),
}));

function written(value: Reply): string {
  if (value === null) return '$-1\r\n';
  if (typeof value === 'number') return `:${value}\r\n`;
  if (typeof value === 'string') return `$${Buffer.byteLength(value)}\r\n${value}\r\n`;
  return `*${value.length}\r\n${value.map(written).join('')}`;
}

test('an answer is read when all of it is there, and not before', () => {
  fc.assert(
    fc.property(reply, fc.nat(), (value, cut) => {
      const bytes = Buffer.from(written(value));
      expect(takeReply(Buffer.concat([bytes, Buffer.from('+next\r\n')]))).toEqual({
        reply: value,
        length: bytes.length,
      });
      expect(takeReply(bytes.subarray(0, cut % bytes.length))).toBeUndefined();
    }),
  );
});

test('whatever comes, it neither fails nor loops', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      takeReply(Buffer.from(text));
    }),
  );
  for (const text of [
    'HTTP/1.1 400 Bad Request\r\n',
    ':x\r\n',
    '$-2\r\n',
    '$9999999999\r\n',
    '*-5\r\n',
    '*999999\r\n',
  ])
    expect(takeReply(Buffer.from(text))).toBe('nonsense');
  expect(takeReply(Buffer.from('*1\r\n'.repeat(50_000)))).toBe('nonsense');
  expect(takeReply(Buffer.from('-ERR no\r\n'))).toEqual({ reply: new Error('ERR no'), length: 9 });
});
