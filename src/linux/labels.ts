import { call } from './system-calls.ts';

/** The label of a mounted file system, of whatever type: ioctls from linux/fs.h. */

const FS_IOC_GETFSLABEL = 0x81009431n;
const FS_IOC_SETFSLABEL = 0x41009432n;

const buffer = Buffer.alloc(256);

export function fileSystemLabel(fd: number): string {
  call('ioctl', 'GET_FSLABEL', fd, FS_IOC_GETFSLABEL, buffer);
  return buffer.toString('utf8').replace(/\0.*$/s, '');
}

/** Writes the label that is there. */
export function rewriteLabel(fd: number): void {
  call('ioctl', 'GET_FSLABEL', fd, FS_IOC_GETFSLABEL, buffer);
  call('ioctl', 'SET_FSLABEL', fd, FS_IOC_SETFSLABEL, buffer);
}
