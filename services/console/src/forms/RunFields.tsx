import { TagsInput, Textarea, TextInput } from "@mantine/core";

import { NumberField, scaled } from "./NumberField";
import type { JobBody } from "./preflight";

export type Run = Omit<JobBody, "kind" | "spec" | "project" | "depends_on">;

const GIB = 2 ** 30;

/** How a job is called and where it runs; `errors` by pointers into the request. */
export function RunFields({ run, set, errors, kind }: { run: Run; set: (run: Run) => void; errors: ReadonlyMap<string, string>; kind: string }) {
  const change = (field: Partial<Run>) => set({ ...run, ...field });
  const resources = (field: Partial<NonNullable<Run["resources"]>>) => change({ resources: { ...run.resources, ...field } });
  const memory = run.resources?.memory_bytes;
  return (
    <div className="fields">
      <TextInput label="Name" description="for people" placeholder={kind} value={run.name ?? ""} error={errors.get("/name")} maxLength={128}
        onChange={(event) => change({ name: event.currentTarget.value || undefined })} />
      <TagsInput label="Tags" description="what it is found by: letters, digits and . _ - : / = +" value={run.tags ?? []} error={errors.get("/tags")}
        onChange={(tags) => change({ tags: tags.length ? tags : undefined })} />
      <NumberField label="GPUs" description="none: one where the worker has any; 0: no GPU is needed nor given" unit="GPUs" whole value={run.resources?.gpus} fallback={undefined}
        error={errors.get("/resources/gpus")} set={(gpus) => resources({ gpus: gpus as number | undefined })} />
      <NumberField label="Memory" description="main memory that the worker must have" unit="GiB" whole={false} value={scaled(memory ?? undefined, (bytes) => bytes / GIB)} fallback={undefined}
        error={errors.get("/resources/memory_bytes")} set={(gib) => resources({ memory_bytes: scaled(gib, (number) => Math.round(number * GIB)) })} />
      <NumberField label="Priority" description="-100 to 100; higher runs first" whole value={run.priority} fallback={0} error={errors.get("/priority")}
        set={(priority) => change({ priority: priority as number | undefined })} />
      <NumberField label="Attempts" description="before it has failed; none: as the platform is set" whole value={run.max_attempts} fallback={undefined} error={errors.get("/max_attempts")}
        set={(max_attempts) => change({ max_attempts: max_attempts as number | undefined })} />
      <NumberField label="Time limit" description="of all attempts together; it is then set aside" unit="hours" whole={false} fallback={undefined}
        value={scaled(run.time_limit_s ?? undefined, (seconds) => seconds / 3600)} error={errors.get("/time_limit_s")}
        set={(hours) => change({ time_limit_s: scaled(hours, (number) => number * 3600) })} />
      <Textarea label="Notes" description="for people" autosize minRows={1} value={run.notes ?? ""} error={errors.get("/notes")}
        onChange={(event) => change({ notes: event.currentTarget.value || undefined })} />
    </div>
  );
}
