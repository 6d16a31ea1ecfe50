import { Anchor, SimpleGrid, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { artifactsQuery } from "../../api/queries";
import { Failure } from "../../components/Failure";
import { bytes } from "../../format";

const PICTURES = 24;

/** The files that the job kept; pictures are shown. */
export function Files({ id, over }: { id: string; over: boolean }) {
  const found = useQuery({ ...artifactsQuery(id), refetchInterval: over ? false : 15_000 });
  const files = found.data?.items ?? [];
  const pictures = files.filter((file) => /^image\/(png|jpeg|svg)/.test(file.content_type)).slice(-PICTURES);
  if (found.error) return <Failure error={found.error} retry={() => void found.refetch()} />;
  if (found.isSuccess && files.length === 0) return <Text size="sm" c="dimmed">{over ? "It has kept no file." : "No file yet."}</Text>;
  return (
    <>
      <ul>
        {files.map((file) => (
          <li key={file.name}>
            <Anchor href={file.url} target="_blank" rel="noreferrer" size="sm">{file.name}</Anchor>{" "}
            <Text span size="xs" c="dimmed">{file.content_type}, {bytes(file.size)}</Text>
          </li>
        ))}
      </ul>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        {pictures.map((file) => (
          <figure key={file.name} style={{ margin: 0 }}>
            <img className="picture" src={file.url} alt={file.name} loading="lazy" />
            <Text component="figcaption" size="xs" c="dimmed">{file.name}</Text>
          </figure>
        ))}
      </SimpleGrid>
    </>
  );
}
