import { clearField, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import type { FieldMask } from '@bufbuild/protobuf/wkt';
import { badRequest } from '../failures.ts';

/**
 * Leaves of messages only the fields of a mask.
 * @throws ConnectError INVALID_ARGUMENT when the mask names what is no field
 */
export function masking<D extends DescMessage>(
  descriptor: D,
  mask: FieldMask | undefined,
): (message: MessageShape<D>) => MessageShape<D> {
  if (!mask || mask.paths.length === 0 || mask.paths.includes('*')) return (message) => message;
  const known = new Map(descriptor.fields.map((field) => [field.name, field]));
  for (const path of mask.paths) {
    if (known.has(path)) continue;
    const description = `names ${JSON.stringify(path.slice(0, 80))}, which is no field of ${descriptor.name}`;
    throw badRequest([{ field: 'read_mask', description }]);
  }
  const unwanted = descriptor.fields.filter((field) => !mask.paths.includes(field.name));
  return (message) => {
    for (const field of unwanted) clearField(message, field);
    return message;
  };
}
