import { Warnings } from '../../lib/cli/warnings';

test('what goes wrong beside the answers is told on stderr, once, when asked for', () => {
  const write = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
  try {
    const warnings = new Warnings();
    const notKept = { kind: 'notKept', tenant: 'default', version: 0, evidence: { why: 'the disk is full' } } as const;
    warnings.take(notKept);
    warnings.take({ ...notKept });
    warnings.take({ ...notKept, kind: 'promoted' });
    warnings.take({ kind: 'drift', tenant: 'default', drafter: 'suffix', expected: 0.5, seen: 0.2, rounds: 100 });
    warnings.take({ ...notKept, kind: 'stopped', evidence: { code: 'CUDA_ERROR', why: 'the device was lost' } });
    expect(write).not.toHaveBeenCalled();
    warnings.show();
    warnings.take(notKept);
    warnings.show();
    const told = write.mock.calls.map(([text]) => String(text));
    expect(told).toHaveLength(2);
    expect(told[0]).toMatch(/warning:.* the disk is full\n$/);
    expect(told[1]).toMatch(/warning:.* the device was lost\n$/);
  } finally {
    write.mockRestore();
  }
});
