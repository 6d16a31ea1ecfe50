import { Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { platformQuery } from "../../api/gateway";
import { Failure } from "../../components/Failure";
import { bytes, number } from "../../format";

const WORDS: Record<string, { label: string; unit: "bytes" | "count"; setting: string }> = {
  max_file_bytes: { label: "largest file", unit: "bytes", setting: "MEDCOSS_MAX_FILE_BYTES" },
  max_dataset_bytes: { label: "largest dataset", unit: "bytes", setting: "MEDCOSS_MAX_DATASET_BYTES" },
  max_inference_bytes: { label: "largest request to the gateway", unit: "bytes", setting: "MEDCOSS_MAX_INFERENCE_BYTES" },
  quota_running: { label: "jobs of one owner that run at once", unit: "count", setting: "MEDCOSS_QUOTA_RUNNING" },
  quota_queued: { label: "jobs of one owner that wait to run", unit: "count", setting: "MEDCOSS_QUOTA_QUEUED" },
};

/** Quotas and limits of the platform; they are settings of its services. */
export function Limits() {
  const found = useQuery(platformQuery());
  const limits = (found.data?.limits ?? {}) as Record<string, number | null>;
  return (
    <Stack gap="sm">
      <Text size="sm">These are settings of the services, changed where they are started.</Text>
      {found.error && <Failure error={found.error} />}
      <div className="scroll" tabIndex={0} role="region" aria-label="Quotas and limits">
        <table className="rows">
          <thead><tr><th scope="col">Limit</th><th scope="col" className="num">Now</th><th scope="col">Setting</th></tr></thead>
          <tbody>
            {Object.entries(limits).map(([name, value]) => {
              const known = WORDS[name];
              return (
                <tr key={name}>
                  <td>{known?.label ?? name}</td>
                  <td className="num">{value == null ? "none" : known?.unit === "count" ? number(value) : bytes(value)}</td>
                  <td><code>{known?.setting ?? `MEDCOSS_${name.toUpperCase()}`}</code></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Stack>
  );
}
