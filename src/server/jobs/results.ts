import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type AdoptDisksResult,
  AdoptDisksResultSchema,
  type BranchSnapshotResult,
  BranchSnapshotResultSchema,
  type CloneManyResult,
  CloneManyResultSchema,
  type ExportVolumeResult,
  ExportVolumeResultSchema,
  type FailedItemSchema,
  type ImportTemplateResult,
  ImportTemplateResultSchema,
  type Job,
  type MeasureUsageResult,
  MeasureUsageResultSchema,
  type VerifySnapshotResult,
  VerifySnapshotResultSchema,
} from '../../api/generated/coppice/v1/job_service_pb.ts';
import { volumeName } from '../../api/resource-names.ts';
import type { ManyCloned } from '../../engine/clone-many.ts';
import type { Adopted } from '../../engine/operations/adopt.ts';
import type { Branched } from '../../engine/operations/branch.ts';
import type { Exported } from '../../engine/operations/export.ts';
import type { Imported } from '../../engine/operations/import.ts';
import type { Usage } from '../../engine/operations/usage.ts';
import type { Verified } from '../../engine/operations/verify.ts';
import { CoppiceError, type ErrorData } from '../../model/errors.ts';
import { toImageFormat, toJobError, toResourceName, toUsage } from '../convert.ts';
import { toVerification } from '../convert-snapshot.ts';
import type { ServedPool } from '../pools/served-pool.ts';
import type { JobControl } from './jobs.ts';

/** What came of jobs, as the contract has it. */

/** The most failures that a result lists. */
const mostFailed = 1000;

export function importResult(pool: string, imported: Imported): ImportTemplateResult {
  return create(ImportTemplateResultSchema, {
    volume: volumeName(pool, imported.name),
    uid: imported.id,
    sizeBytes: BigInt(imported.bytes),
    format: toImageFormat(imported.format),
    shared: imported.shared,
    snapshotsLeftOut: imported.snapshotsLeftOut ?? 0,
  });
}

export function exportResult({ file, format, bytes }: Exported): ExportVolumeResult {
  return create(ExportVolumeResultSchema, {
    path: file,
    format: toImageFormat(format),
    sizeBytes: BigInt(bytes),
  });
}

export function adoptResult(pool: string, { adopted, skipped, failed }: Adopted): AdoptDisksResult {
  return create(AdoptDisksResultSchema, {
    adopted: adopted.map((disk) => ({
      path: disk.file,
      volume: volumeName(pool, disk.name),
      sizeBytes: BigInt(disk.bytes),
      before: disk.before ?? false,
      originalRemoved: disk.originalRemoved,
    })),
    skipped: skipped.map(({ file, reason }) => ({ path: file, reason })),
    failed: failed.map(({ file, error }) => failedItem(file, error)),
  });
}

export function cloneManyResult({ cloned, failed }: ManyCloned): CloneManyResult {
  return create(CloneManyResultSchema, {
    clonedCount: cloned.length,
    failed: failed.slice(0, mostFailed).map(({ name, error }) => failedItem(name, error)),
  });
}

export function verifyResult(pool: string, verified: Verified): VerifySnapshotResult {
  return create(VerifySnapshotResultSchema, {
    snapshot: toResourceName(pool, verified.reference),
    verification: toVerification(verified),
  });
}

export function branchResult(
  pool: string,
  { name, id, servers, with: others = [] }: Branched,
): BranchSnapshotResult {
  return create(BranchSnapshotResultSchema, {
    volume: volumeName(pool, name),
    uid: id,
    servers: servers.map(({ isRunning, ...server }) => ({ ...server, running: isRunning })),
    withVolumes: others.map((each) => volumeName(pool, each)),
  });
}

/** One after the other, so that it can be cancelled in between. */
export async function measure(
  served: ServedPool,
  references: readonly string[],
  { signal, onProgress }: JobControl,
): Promise<MeasureUsageResult> {
  const usages: Usage[] = [];
  let settled = true;
  for (const [index, reference] of references.entries()) {
    if (signal.aborted) break;
    onProgress({
      step: 'measuring',
      fraction: index / references.length,
      done: index,
      total: references.length,
    });
    const report = await served.pool.usage([reference], { exact: true });
    usages.push(...report.usages);
    settled &&= report.settled ?? true;
  }
  return create(MeasureUsageResultSchema, {
    usages: usages.map((usage) => toUsage(served.id, usage)),
    settled,
  });
}

/** Whether a job of an earlier run had its effect before that ended. Only of an import it can be known. */
export async function findResult(
  served: ServedPool,
  job: Job,
  id: string,
): Promise<Job['result'] | undefined> {
  if (job.method !== 'ImportTemplate') return undefined;
  await served.indexed();
  for (let last = ''; ; ) {
    const entries = served.index.after(last, 1000);
    for (const { volume } of entries) {
      if (volume.request !== id) continue;
      const value = create(ImportTemplateResultSchema, {
        volume: volumeName(served.id, volume.name),
        uid: volume.id ?? '',
        sizeBytes: BigInt(volume.bytes ?? 0),
      });
      return { case: 'importTemplate', value };
    }
    if (entries.length < 1000) return undefined;
    last = entries.at(-1)?.volume.name ?? '';
  }
}

function failedItem(
  subject: string,
  error: ErrorData | CoppiceError,
): MessageInitShape<typeof FailedItemSchema> {
  const failure = error instanceof CoppiceError ? error : new CoppiceError(error.code, error.message, error);
  return { subject, error: toJobError(failure, '') };
}
