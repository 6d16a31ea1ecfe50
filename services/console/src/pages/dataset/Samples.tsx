import { Card, Code, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";

import { More } from "../../components/More";
import { filesQuery, type StoredFile, textQuery } from "../../api/datasets";
import type { Dataset } from "../../api/client";
import { Failure } from "../../components/Failure";
import { bytes, number } from "../../format";
import { Inspected } from "./Numbers";

const SHOWN = 24;
const PICTURE = /\.(png|jpe?g|bmp|gif|webp)$/i;
const TEXT = /\.(txt|csv|tsv|json)$/i;
const LETTERS = 4000;

/** What the samples look like: of raw data the files themselves, of volumes and prepared data the pictures of the inspection. */
export function Samples({ dataset }: { dataset: Dataset }) {
  return (
    <Stack gap="xl">
      {dataset.role === "raw" && <Raw dataset={dataset} />}
      <section aria-labelledby="pictures">
        <Title order={2} size="h4" id="pictures" mb="xs">{dataset.role === "raw" ? "As an inspection sees it" : "Samples"}</Title>
        <Montages dataset={dataset} />
      </section>
    </Stack>
  );
}

function Montages({ dataset }: { dataset: Dataset }) {
  return (
    <Inspected dataset={dataset}>
      {({ artifacts }) => {
        const found = artifacts.filter((each) => each.name.startsWith("montage_"));
        if (!found.length) return <Text size="sm" c="dimmed">The inspection drew no samples: there are none that are pictures.</Text>;
        return (
          <Stack>
            <Text size="sm" c="dimmed">Samples drawn at random, a row of each class; of volumes the axial, coronal and sagittal slice, masks in colour.</Text>
            {found.map((each) => (
              <figure key={each.name} className="figure">
                <figcaption>{each.name.replace(/^montage_|\.png$/g, "")}</figcaption>
                <img className="picture" src={each.url} alt={`samples of ${each.name.replace(/^montage_|\.png$/g, "")}`} loading="lazy" />
              </figure>
            ))}
          </Stack>
        );
      }}
    </Inspected>
  );
}

/** Pictures and texts among the files, as they were uploaded. */
function Raw({ dataset }: { dataset: Dataset }) {
  const found = useInfiniteQuery(filesQuery(dataset.id, SHOWN));
  const files = found.data?.pages.flatMap((page) => page.items) ?? [];
  const pictures = files.filter((each) => PICTURE.test(each.path));
  const texts = files.filter((each) => TEXT.test(each.path)).slice(0, 4);
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  return (
    <section aria-labelledby="raw">
      <Title order={2} size="h4" id="raw" mb="xs">Files</Title>
      {found.isSuccess && !pictures.length && !texts.length && (
        <Text size="sm" c="dimmed">A browser shows none of its first files as they are; of volumes and DICOM the inspection has slices.</Text>
      )}
      {texts.map((each) => <Words key={each.path} file={each} />)}
      <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }} spacing="sm">
        {pictures.map((each) => (
          <figure key={each.path} className="figure">
            <a href={each.url} target="_blank" rel="noreferrer"><img className="thumbnail" src={each.url} alt={each.path} loading="lazy" /></a>
            <figcaption title={each.path}>{each.path}</figcaption>
          </figure>
        ))}
      </SimpleGrid>
      <More of={found}>More of {number(dataset.file_count)} files</More>
    </section>
  );
}

function Words({ file }: { file: StoredFile }) {
  const found = useQuery(textQuery(file, LETTERS));
  return (
    <Card withBorder padding="sm" mb="sm">
      <Text size="sm" fw={600} mb={4}>{file.path} <Text span size="xs" c="dimmed">{bytes(file.size)}{file.size > LETTERS ? ", its beginning" : ""}</Text></Text>
      {found.error && <Failure error={found.error} />}
      {found.data !== undefined && <Code block className="json words" tabIndex={0} role="region" aria-label={`Text of ${file.path}`}>{found.data}</Code>}
    </Card>
  );
}
