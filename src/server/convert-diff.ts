import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  DiffMethod,
  type DiffSnapshotsResponse,
  DiffSnapshotsResponseSchema,
  FileAspect,
  FileChangeKind,
  type FileChangeSchema,
  FileType,
} from '../api/generated/coppice/v1/volume_service_pb.ts';
import type {
  Aspect,
  Change,
  ChangeKind,
  ComparisonMethod,
  FileType as FileTypeText,
} from '../model/changes.ts';
import type { ComparisonPiece } from './pools/comparison.ts';

/** What is different in two trees, as the contract has it. */

export function toDiffResponse(piece: ComparisonPiece): DiffSnapshotsResponse {
  if ('changes' in piece)
    return create(DiffSnapshotsResponseSchema, { changes: piece.changes.map(toFileChange) });
  const { counts, bytes, method } = piece.summary;
  return create(DiffSnapshotsResponseSchema, {
    summary: {
      addedCount: BigInt(counts.added),
      removedCount: BigInt(counts.removed),
      changedCount: BigInt(counts.changed),
      renamedCount: BigInt(counts.renamed),
      ...(bytes && {
        bytes: {
          addedBytes: BigInt(bytes.added),
          removedBytes: BigInt(bytes.removed),
          changedBytes: BigInt(bytes.changed),
          renamedBytes: BigInt(bytes.renamed),
        },
      }),
      method: methods[method],
    },
  });
}

function toFileChange(change: Change): MessageInitShape<typeof FileChangeSchema> {
  const { kind, type, path, pathBase64, from = '', fromBase64, bytes, aspects = [] } = change;
  return {
    kind: kinds[kind],
    type: types[type],
    path,
    ...(pathBase64 !== undefined && { pathBytes: Buffer.from(pathBase64, 'base64') }),
    fromPath: from,
    ...(fromBase64 !== undefined && { fromPathBytes: Buffer.from(fromBase64, 'base64') }),
    ...(bytes !== undefined && { sizeBytes: BigInt(bytes) }),
    aspects: aspects.map((aspect) => allAspects[aspect]),
  };
}

const methods: Readonly<Record<ComparisonMethod, DiffMethod>> = {
  generations: DiffMethod.GENERATIONS,
  records: DiffMethod.RECORDS,
  files: DiffMethod.FILES,
};

const kinds: Readonly<Record<ChangeKind, FileChangeKind>> = {
  added: FileChangeKind.ADDED,
  removed: FileChangeKind.REMOVED,
  changed: FileChangeKind.CHANGED,
  renamed: FileChangeKind.RENAMED,
};

const types: Readonly<Record<FileTypeText, FileType>> = {
  file: FileType.FILE,
  directory: FileType.DIRECTORY,
  symlink: FileType.SYMLINK,
  other: FileType.OTHER,
  subvolume: FileType.SUBVOLUME,
};

const allAspects: Readonly<Record<Aspect, FileAspect>> = {
  data: FileAspect.DATA,
  mode: FileAspect.MODE,
  owner: FileAspect.OWNER,
  times: FileAspect.TIMES,
  attributes: FileAspect.ATTRIBUTES,
};
