import { SegmentedControl, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo } from "react";

import type { Dataset } from "../../api/client";
import { type Inspection, inspectionQuery, type Report } from "../../api/datasets";
import { type Drawn, drawnQuery, type Listed, listedQuery, type Sample } from "../../api/samples";
import { Failure } from "../../components/Failure";
import { moment, number } from "../../format";
import { Browser } from "./Browser";
import { Inspect, Inspected } from "./Numbers";

/** The samples one by one: of raw data the files themselves, of the rest those that an inspection has drawn. */
export function Samples({ dataset }: { dataset: Dataset }) {
  return (
    <Stack gap="xl">
      {dataset.role === "raw" && <Raw dataset={dataset} />}
      <section aria-labelledby="pictures">
        <Title order={2} size="h4" id="pictures" mb="xs">{dataset.role === "raw" ? "As an inspection sees it" : "Samples"}</Title>
        <Inspected dataset={dataset}>
          {(inspection) => (
            <Stack gap="xl">
              {dataset.role !== "raw" && <OfInspection dataset={dataset} inspection={inspection} />}
              <Montages inspection={inspection} />
            </Stack>
          )}
        </Inspected>
      </section>
    </Stack>
  );
}

type Found = Inspection & { report: Report };

function Montages({ inspection: { artifacts } }: { inspection: Found }) {
  const found = artifacts.filter((each) => each.name.startsWith("montage_"));
  if (!found.length) return <Text size="sm" c="dimmed">The inspection drew no pictures: there are no samples that are pictures.</Text>;
  return (
    <Stack>
      <Text size="sm" c="dimmed">At a glance: samples drawn at random, a row of each class; of volumes the axial, coronal and sagittal slice, masks in colour.</Text>
      {found.map((each) => (
        <figure key={each.name} className="figure">
          <figcaption>{each.name.replace(/^montage_|\.png$/g, "")}</figcaption>
          <img className="picture" src={each.url} alt={`samples of ${each.name.replace(/^montage_|\.png$/g, "")}`} loading="lazy" />
        </figure>
      ))}
    </Stack>
  );
}

/** The samples that an inspection has drawn, or how to have some drawn. */
function OfInspection({ dataset, inspection }: { dataset: Dataset; inspection: Found }) {
  const drawn = useQuery(drawnQuery(inspection));
  if (drawn.error) return <Failure error={drawn.error} retry={() => void drawn.refetch()} />;
  if (drawn.isPending) return <Text c="dimmed">Looking …</Text>;
  if (!drawn.data) {
    return (
      <Stack align="flex-start" gap="xs">
        <Text size="sm">The newest inspection has kept no samples to go through: its option “samples” was 0, or it is older than the sample browser.</Text>
        <Inspect dataset={dataset} />
      </Stack>
    );
  }
  return (
    <div>
      <Whence drawn={drawn.data} inspection={inspection} />
      <Browser dataset={dataset.id} samples={drawn.data.samples} />
    </div>
  );
}

function Whence({ drawn: { samples, of }, inspection: { job } }: { drawn: Drawn; inspection: Inspection }) {
  return (
    <Text size="sm" c="dimmed" mb="sm">
      {number(samples.length)} of {number(of)}, drawn by <Link className="link" to="/jobs/$id" params={{ id: job.id }}>the inspection</Link> of {moment(job.finished_at)}.
    </Text>
  );
}

/** The files of a raw dataset as this browser opens them, and what an inspection has drawn of those that it cannot. */
function Raw({ dataset }: { dataset: Dataset }) {
  const { from } = useSearch({ from: "/datasets/$id" });
  const navigate = useNavigate({ from: "/datasets/$id" });
  const listed = useQuery(listedQuery(dataset.id));
  const inspection = useQuery(inspectionQuery(dataset.id));
  const drawn = useQuery(drawnQuery(inspection.data));
  const instead = useMemo(() => new Map<string, Sample>(drawn.data?.samples.map((each) => [each.source || each.key, each])), [drawn.data]);
  const report = inspection.data?.report;
  const verdicts = useMemo(() => new Map([...(report?.unreadable ?? []), ...(report?.left_out ?? [])].map((each) => [each.path, each.reason])), [report]);
  if (listed.error) return <Failure error={listed.error} retry={() => void listed.refetch()} />;
  if (!listed.data) return <Text c="dimmed">Looking through {number(dataset.file_count)} files …</Text>;
  const { samples } = listed.data;
  const shown = drawn.data?.samples.length && inspection.data ? { drawn: drawn.data, inspection: inspection.data } : null;
  const isDrawn = shown !== null && (from === "inspection" || samples.length === 0);
  return (
    <section aria-labelledby="raw">
      <Title order={2} size="h4" id="raw" mb="xs">Samples</Title>
      {shown && samples.length > 0 && (
        <SegmentedControl mb="xs" aria-label="Where the samples come from" value={isDrawn ? "inspection" : "files"}
          onChange={(to) => void navigate({ search: (old) => ({ ...old, from: to === "inspection" ? to : undefined, sample: undefined, split: undefined, label: undefined, q: undefined }), replace: true, resetScroll: false })}
          data={[{ value: "files", label: `Files (${number(samples.length)})` }, { value: "inspection", label: `Drawn by the inspection (${number(shown.drawn.samples.length)})` }]} />
      )}
      {isDrawn ? <Whence drawn={shown.drawn} inspection={shown.inspection} /> : <Text size="sm" c="dimmed" mb="sm">{whence(listed.data)}</Text>}
      {isDrawn ? <Browser key="drawn" dataset={dataset.id} samples={shown.drawn.samples} /> : samples.length > 0 && <Browser key="files" dataset={dataset.id} samples={samples} instead={instead} verdicts={verdicts} />}
    </section>
  );
}

function whence({ samples, packed, cut }: Listed): string {
  return [
    samples.length ? `${number(samples.length)} samples, opened by this browser as they were uploaded; masks are paired by their names.` : "A browser opens none of its files as they are.",
    packed ? `${number(packed)} DICOM files and archives are not among them: an inspection draws samples of their series and contents.` : "",
    cut ? `Only its first ${number(cut)} files are listed.` : "",
  ].filter(Boolean).join(" ");
}
