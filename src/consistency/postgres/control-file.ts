import { readBelow } from './data-directory.ts';

/** What `global/pg_control` says of the cluster: those of its fields that lie at the same place in all versions from 13 to 18. */
export interface ControlFile {
  readonly systemIdentifier: string;
  readonly state: ClusterState;
  readonly redo: string;
  readonly timeline: number;
}

const states = [
  'starting up',
  'shut down',
  'shut down in recovery',
  'shutting down',
  'in crash recovery',
  'in archive recovery',
  'in production',
] as const;

export type ClusterState = (typeof states)[number];

/** Undefined where it can't be read, or is of a version that is not known. */
export function readControlFile(dataDirectory: number): ControlFile | undefined {
  const bytes = readBelow(dataDirectory, 'global/pg_control', 96);
  if (!bytes || bytes.length < 96) return undefined;
  const format = bytes.readUInt32LE(8);
  const state = states[bytes.readUInt32LE(16)];
  if (!knownFormats.includes(format) || state === undefined) return undefined;
  return {
    systemIdentifier: String(bytes.readBigUInt64LE(0)),
    state,
    redo: formatPosition(bytes.readBigUInt64LE(40)),
    timeline: bytes.readUInt32LE(48),
  };
}

/** Of 13 to 16, of 17, and of 18. */
const knownFormats: readonly number[] = [1300, 1700, 1800];

/** A position in the WAL as PostgreSQL writes it: `0/15D6E28`. */
export function formatPosition(position: bigint): string {
  const half = (value: bigint): string => value.toString(16).toUpperCase();
  return `${half(position >> 32n)}/${half(position & 0xffff_ffffn)}`;
}

/** Undefined where it is none. */
export function parsePosition(text: string): bigint | undefined {
  const [, high, low] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text) ?? [];
  return high === undefined ? undefined : (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
