/**
 * The objects of the HTTP protocol, version 1 (docs/protocol.md), with the names they have on the wire. Those that its
 * OpenAPI description leaves open are written out here.
 */
import type { components } from "./schema.ts";

type Schemas = components["schemas"];

/** Audio that a request refers to: a clip or an upload, or a part of it. */
export type Source = Schemas["Source"];
export type Continuation = Schemas["Continued"];
export type Section = Schemas["Section"];
export type Sampling = Schemas["SamplingGiven"];
export type Guidance = Schemas["GuidanceGiven"];
/** What `POST /v1/jobs` takes; every field may be left out. */
export type JobRequest = Schemas["JobRequest"];
export type Problem = Schemas["ProblemObject"] & { request_id?: string };
export type Measured = Schemas["Measured"];
export type Clip = Schemas["ClipObject"];
export type Job = Omit<Schemas["JobObject"], "request"> & { request: JobRequest };
export type Upload = Schemas["UploadObject"];
export type Collection = Schemas["CollectionObject"];
export type ListeningTest = Schemas["TestObject"];

export interface Model {
  id: string;
  loaded: boolean;
  sample_rate_hz: number;
  channels: number;
  trained_s: number;
  max_duration_s: number;
  can: Record<string, boolean>;
  cannot: Record<string, string>;
  defaults: { sampling: Sampling; guidance: Guidance };
  licence: string | null;
}

export interface Server {
  version: string;
  state: string;
  model: string;
  device: string;
  precision: string;
  speed: { real_time_factor: number; first_audio_s: number } | null;
  slots: { total: number; busy: number };
  queue: { length: number; limit: number };
  owner: string;
  scopes: string[];
  formats: { audio: string[]; loop: string[] };
  extras: { midi: boolean; stems: boolean };
  limits: { text_characters: number; count: number; duration_s: number; upload_bytes: number };
  storage: { used_bytes: number; quota_bytes: number; by_kind: Record<string, number> };
}

export interface Recipe {
  recipe: number;
  request: JobRequest;
  model: string;
  model_fingerprint: string | null;
}

/** What the server says of a recipe. */
export interface CheckedRecipe {
  request: JobRequest;
  /** Whether it gives the same music here. */
  is_exact: boolean;
  notes: string[];
}

export interface Preset {
  name: string;
  request: JobRequest;
}

export interface Trials {
  test: { id: string; name: string; kind: "pairs" | "rating"; question: string };
  participant: string;
  items: { trial: number; letters: string[]; answer: string | number | null }[];
}

export interface Results {
  participants: number;
  answers: number;
  /** Null for a clip that nobody has judged yet. */
  clips: { clip_id: string; score: number | null; low: number | null; high: number | null; count: number }[];
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface Progress {
  job_id: string;
  clips: { clip_id: string; index: number; made_s: number; of_s: number }[];
  speed: number | null;
  eta_s: number | null;
}

export interface PeaksFile {
  channels: number;
  bits: number;
  data: number[];
}
