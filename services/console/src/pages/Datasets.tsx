import { Button, Group, MultiSelect, Text } from "@mantine/core";
import { IconUpload } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";

import { More } from "../components/More";
import type { Dataset } from "../api/client";
import { datasetsQuery } from "../api/queries";
import { Failure } from "../components/Failure";
import { StateBadge } from "../components/State";
import { ago, bytes, moment, number } from "../format";
import { type DatasetsSearch, MODALITIES, ROLES } from "../router";
import { Heading } from "../Shell";
import { Words } from "./Jobs";

export default function Datasets() {
  const search = useSearch({ from: "/datasets" });
  const navigate = useNavigate({ from: "/datasets" });
  const found = useInfiniteQuery(datasetsQuery(search));
  const set = (change: Partial<DatasetsSearch>) => void navigate({ search: (old) => ({ ...old, ...change }), replace: true });
  const datasets = found.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <Heading aside={<Button component={Link} to="/datasets/upload" leftSection={<IconUpload size={16} aria-hidden />}>Upload</Button>}>Datasets</Heading>
      <Group mb="md" align="flex-end" gap="sm">
        <MultiSelect label="Role" data={[...ROLES]} value={search.role ?? []} w={240} clearable placeholder={search.role ? undefined : "any"}
          onChange={(role) => set({ role: role as DatasetsSearch["role"] })} />
        <MultiSelect label="Modality" data={[...MODALITIES]} value={search.modality ?? []} w={240} clearable
          placeholder={search.modality ? undefined : "any"} onChange={(modality) => set({ modality: modality as DatasetsSearch["modality"] })} />
        <Words label="Name" hint="begins with" value={search.name} set={(name) => set({ name })} />
      </Group>
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      {found.isSuccess && datasets.length === 0 && (
        <Text c="dimmed">No dataset is like that. Upload brings one here; so does `medcoss datasets upload FOLDER`, which takes identities out of DICOM files.</Text>
      )}
      {datasets.length > 0 && (
        <div className="scroll" tabIndex={0} role="region" aria-label="Datasets">
          <table className="rows">
            <thead>
              <tr>
                <th scope="col">Dataset</th><th scope="col">Role</th><th scope="col">State</th><th scope="col">Modality</th>
                <th scope="col">Samples</th><th scope="col" className="num spare">Files</th><th scope="col" className="num spare">Size</th>
                <th scope="col" className="num">Made</th>
              </tr>
            </thead>
            <tbody>{datasets.map((each) => <Row key={each.id} dataset={each} />)}</tbody>
          </table>
        </div>
      )}
      <More of={found} />
    </>
  );
}

function Row({ dataset }: { dataset: Dataset }) {
  const bad = dataset.bad_files.length;
  return (
    <tr>
      <td className="one">
        <Link className="link" to="/datasets/$id" params={{ id: dataset.id }}>{dataset.name}</Link>
        <Text size="xs" c="dimmed">{dataset.id}</Text>
      </td>
      <td>{dataset.role}</td>
      <td><StateBadge state={dataset.state} /></td>
      <td>{dataset.modality ?? "–"}</td>
      <td>
        <Samples dataset={dataset} />
        {bad > 0 && <Text size="xs" title={dataset.bad_files.slice(0, 10).map((each) => `${each.path}: ${each.reason}`).join("\n")}>
          {bad} {bad === 1 ? "file" : "files"} could not be used
        </Text>}
      </td>
      <td className="num spare">{number(dataset.file_count)}</td>
      <td className="num spare">{bytes(dataset.total_bytes)}</td>
      <td className="num" title={moment(dataset.created_at)}>{ago(dataset.created_at)}</td>
    </tr>
  );
}

function Samples({ dataset }: { dataset: Dataset }) {
  if (dataset.samples == null) return <>–</>;
  const splits = Object.entries(dataset.splits ?? {}).filter(([, count]) => count).map(([name, count]) => `${number(count)} ${name}`);
  return (
    <>
      <Text size="sm" className="whole">{number(dataset.samples)}{dataset.sample_shape ? ` of ${dataset.sample_shape.join(" × ")}` : ""}</Text>
      {splits.length > 1 && <Text size="xs" c="dimmed" className="whole">{splits.join(", ")}</Text>}
    </>
  );
}
