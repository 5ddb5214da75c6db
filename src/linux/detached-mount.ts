import { Descriptor, openDirectoryAt } from './files.ts';
import { call, closeDescriptor } from './system-calls.ts';

/** Constants of the mount API, from linux/mount.h. */
const FSOPEN_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const FSMOUNT_CLOEXEC = 1;
const MOUNT_ATTR_RDONLY = 1;
/** MOUNT_ATTR_NOSUID, NODEV and NOEXEC. */
const inert = 0x0e;

/**
 * Mounts a device where nobody sees it: at no directory, gone when the descriptor is closed or the process dies. Inert, and
 * read-only unless it is to be written to.
 * @param options further ones of the file system; true for those without a value
 */
export function openDetached(
  type: string,
  device: string,
  options: Readonly<Record<string, string | true>>,
  access: 'read' | 'write' = 'read',
): Descriptor {
  using context = new Descriptor(call('fsopen', type, type, FSOPEN_CLOEXEC), closeDescriptor);
  const configure = (command: number, key: string | null, value: string | null): void =>
    void call('fsconfig', device, context.fd, command, key, value, 0);
  configure(FSCONFIG_SET_STRING, 'source', device);
  if (access === 'read') configure(FSCONFIG_SET_FLAG, 'ro', null);
  for (const [key, value] of Object.entries(options)) {
    if (value === true) configure(FSCONFIG_SET_FLAG, key, null);
    else configure(FSCONFIG_SET_STRING, key, value);
  }
  configure(FSCONFIG_CMD_CREATE, null, null);
  const attributes = inert | (access === 'read' ? MOUNT_ATTR_RDONLY : 0);
  using mount = new Descriptor(
    call('fsmount', device, context.fd, FSMOUNT_CLOEXEC, attributes),
    closeDescriptor,
  );
  return openDirectoryAt(mount.fd, '.');
}
