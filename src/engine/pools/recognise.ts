import { constants, openSync, readdirSync } from 'node:fs';
import type { Backend } from '../../drivers/backend.ts';
import { backendNamed, backends } from '../../drivers/backends.ts';
import { Descriptor, descriptorPath } from '../../linux/files.ts';
import { fileSystemLabel } from '../../linux/labels.ts';
import { type Mount, readMounts } from '../../linux/mounts.ts';
import { isSame } from '../../linux/same-file.ts';
import { hasErrno, SystemError } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { presentSource } from './beneath.ts';
import { poolLabel } from './claim.ts';
import { readKnownMetadata } from './open.ts';

/**
 * The backend of a file system that is a pool, or one that an interrupted run has only formatted; undefined when it is neither. The
 * pool's marker says so; its label is the user's to change. Looks without writing: it may be a stranger's.
 * @param source the file or device, as the user called it
 * @param fd the same, open
 * @param attach gives the device to look into, where it is not mounted already
 */
export function recognisePool(
  source: string,
  fd: number,
  attach: () => Disposable & { path: string },
): Backend | undefined {
  const mount = mountsOf(source)[0];
  const backend = mount ? backendNamed(mount.type) : backends.find((each) => each.recognises(fd));
  if (!backend) return undefined;
  if (mount) {
    using root = new Descriptor(openSync(mount.mountPoint, constants.O_RDONLY | constants.O_DIRECTORY));
    return isPoolRoot(backend, root.fd, source) ? backend : undefined;
  }
  using device = attach();
  using root = openUnseen(backend, device.path, source);
  return isPoolRoot(backend, root.fd, source) ? backend : undefined;
}

/** The mounts of a file or device, by whatever name. */
export function mountsOf(source: string): Mount[] {
  return readMounts().filter(
    (mount) =>
      mount.source.startsWith('/') &&
      [mount.source, presentSource(mount.source)].some((name) => isSame(name, source)),
  );
}

function isPoolRoot({ uuid, areas }: Backend, root: number, source: string): boolean {
  const metadata = readKnownMetadata(root, source);
  if (metadata) return metadata.filesystem === uuid(root);
  // Only what is empty is taken for unfinished work, so that a label alone gives nobody's data away.
  return (
    fileSystemLabel(root) === poolLabel &&
    readdirSync(descriptorPath(root)).every(
      (name) => name in areas && readdirSync(`${descriptorPath(root)}/${name}`).length === 0,
    )
  );
}

function openUnseen(backend: Backend, device: string, source: string): Descriptor {
  try {
    return backend.openUnseen(device);
  } catch (error) {
    if (!(error instanceof SystemError) || hasErrno(error, 'EPERM', 'EACCES', 'ENOSYS')) throw error;
    throw new CoppiceError(
      'damaged',
      `${source} holds a file system of the type ${backend.name} that can't be mounted to see whether it is a pool (${error.code}); "dmesg" says more.`,
      { cause: error },
    );
  }
}
