"""Sizes of the synthetic checkpoints that are measured, and the configuration files that say them.

``r1-10b`` has the sizes of the released Alpamayo-R1-10B. ``small`` is that model with a sixteenth
of every width and a ninth of the layers, so that the stages keep roughly their shares of the work
(a head keeps 64 entries, as 8 would be none to speak of). ``tiny`` is for tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PATCH, MERGE, TEMPORAL = 16, 2, 2
BASE_SPECIAL_TOKENS = (
    'endoftext', 'im_start', 'im_end', 'object_ref_start', 'object_ref_end', 'box_start',
    'box_end', 'quad_start', 'quad_end', 'vision_start', 'vision_end', 'vision_pad', 'image_pad',
    'video_pad')
"""Tokens of the backbone's tokenizer behind its vocabulary."""
# Places of names within the tokens a checkpoint adds; the image placeholder exists already.
_ADDED_SPECIAL_TOKENS = 28
_TRAJECTORY_TOKENS = {'history_start': 5, 'history_end': 7, 'future_start': 12, 'future_end': 14,
                      'history': 15, 'future': 16}


@dataclass(frozen=True)
class Transformer:
    """Sizes of one stack of layers."""

    hidden: int
    intermediate: int
    heads: int


@dataclass(frozen=True)
class Geometry:
    """Sizes of a checkpoint. ``text``, ``vision``, ``expert``: its three stacks; ``text_layers``,
    ``kv_heads`` and ``head_dim`` hold for text and expert; ``mrope_section`` adds up to half of
    ``head_dim``; ``base_vocabulary``: tokens of the backbone without special ones;
    ``trajectory_bins``: of an action value, ``history_bins``: of a step of the ego history."""

    model_type: str
    text: Transformer
    expert: Transformer
    vision: Transformer
    text_layers: int
    vision_layers: int
    deepstack: tuple[int, ...]
    kv_heads: int
    head_dim: int
    mrope_section: tuple[int, int, int]
    base_vocabulary: int
    trajectory_bins: int
    history_bins: int
    projection_hidden: int
    projection_layers: int = 2
    waypoints: int = 64
    steps: int = 10

    @property
    def trajectory_token_start(self) -> int:
        """Id of ``<i0>``."""
        return self.base_vocabulary + len(BASE_SPECIAL_TOKENS)

    @property
    def trajectory_vocabulary(self) -> int:
        """Tokens of trajectories: those of actions, then those of the history."""
        return self.trajectory_bins + self.history_bins

    @property
    def vocabulary(self) -> int:
        """All tokens."""
        return self.trajectory_token_start + self.trajectory_vocabulary + _ADDED_SPECIAL_TOKENS

    def token(self, name: str) -> int:
        """Id of a token of the backbone, such as ``image_pad``, or of ``future_start`` and its
        like."""
        if name in BASE_SPECIAL_TOKENS:
            return self.base_vocabulary + BASE_SPECIAL_TOKENS.index(name)
        first = self.trajectory_token_start + self.trajectory_vocabulary
        return first + _TRAJECTORY_TOKENS[name]

    def config(self) -> dict[str, Any]:
        """``config.json`` of the checkpoint; the backbone's is in its folder ``vlm``."""
        package = f'{self.model_type}.models'
        return {
            'model_type': self.model_type, 'vlm_name_or_path': 'vlm', 'vlm_backend': 'qwenvl3',
            'vocab_size': self.vocabulary, 'traj_vocab_size': self.trajectory_vocabulary,
            'traj_token_start_idx': self.trajectory_token_start,
            'traj_token_ids': {name: self.token(name) for name in _TRAJECTORY_TOKENS},
            'add_special_tokens': True, 'tokens_per_history_traj': 48,
            'tokens_per_future_traj': 2 * self.waypoints,
            'hist_traj_tokenizer_cfg': {
                '_target_': f'{package}.delta_tokenizer.DeltaTrajectoryTokenizer',
                'num_bins': self.history_bins},
            'traj_tokenizer_cfg': {
                '_target_': f'{package}.discrete_action_space.DiscreteTrajectoryTokenizer',
                'num_bins': self.trajectory_bins, 'dims_min': [-10, -10], 'dims_max': [10, 10]},
            'action_space_cfg': {
                'accel_mean': 0.029, 'accel_std': 0.681, 'curvature_mean': 0.00027,
                'curvature_std': 0.0261, 'n_waypoints': self.waypoints, 'dt': 0.1},
            'diffusion_cfg': {'num_inference_steps': self.steps, 'int_method': 'euler'},
            'action_in_proj_cfg': {
                'hidden_size': self.projection_hidden, 'num_enc_layers': self.projection_layers,
                'max_freq': 100.0, 'num_fourier_feats': 20},
            'expert_cfg': {
                'hidden_size': self.expert.hidden, 'intermediate_size': self.expert.intermediate,
                'num_attention_heads': self.expert.heads, 'head_dim': self.head_dim},
            'expert_non_causal_attention': True, 'min_pixels': None, 'max_pixels': None}

    def backbone_config(self) -> dict[str, Any]:
        """``config.json`` of the backbone."""
        return {
            'model_type': 'qwen3_vl', 'tie_word_embeddings': False,
            'image_token_id': self.token('image_pad'), 'video_token_id': self.token('video_pad'),
            'vision_start_token_id': self.token('vision_start'),
            'vision_end_token_id': self.token('vision_end'),
            'text_config': {
                'model_type': 'qwen3_vl_text', 'vocab_size': self.trajectory_token_start,
                'hidden_size': self.text.hidden, 'intermediate_size': self.text.intermediate,
                'num_hidden_layers': self.text_layers, 'num_attention_heads': self.text.heads,
                'num_key_value_heads': self.kv_heads, 'head_dim': self.head_dim,
                'rope_theta': 5000000.0, 'rms_norm_eps': 1e-6, 'attention_bias': False,
                'rope_scaling': {'rope_type': 'default', 'mrope_interleaved': True,
                                 'mrope_section': list(self.mrope_section)}},
            'vision_config': {
                'model_type': 'qwen3_vl', 'depth': self.vision_layers, 'in_channels': 3,
                'hidden_size': self.vision.hidden, 'intermediate_size': self.vision.intermediate,
                'num_heads': self.vision.heads, 'patch_size': PATCH, 'spatial_merge_size': MERGE,
                'temporal_patch_size': TEMPORAL, 'out_hidden_size': self.text.hidden,
                'num_position_embeddings': 2304, 'hidden_act': 'gelu_pytorch_tanh',
                'deepstack_visual_indexes': list(self.deepstack)}}


GEOMETRIES: dict[str, Geometry] = {
    'tiny': Geometry(
        model_type='alpamayo1_5', text=Transformer(64, 128, 4), expert=Transformer(48, 96, 4),
        vision=Transformer(32, 64, 2), text_layers=2, vision_layers=2, deepstack=(0, 1),
        kv_heads=2, head_dim=16, mrope_section=(4, 2, 2), base_vocabulary=400, trajectory_bins=64,
        history_bins=32, projection_hidden=48),
    'small': Geometry(
        model_type='alpamayo1_5', text=Transformer(256, 768, 4), expert=Transformer(128, 516, 2),
        vision=Transformer(72, 269, 1), text_layers=4, vision_layers=3, deepstack=(0, 1, 2),
        kv_heads=1, head_dim=64, mrope_section=(12, 10, 10), base_vocabulary=8000,
        trajectory_bins=3000, history_bins=1000, projection_hidden=32),
    'r1-10b': Geometry(
        model_type='alpamayo_r1', text=Transformer(4096, 12288, 32),
        expert=Transformer(2048, 8256, 16), vision=Transformer(1152, 4304, 16), text_layers=36,
        vision_layers=27, deepstack=(8, 16, 24), kv_heads=8, head_dim=128,
        mrope_section=(24, 20, 20), base_vocabulary=151655, trajectory_bins=3000,
        history_bins=1000, projection_hidden=512),
}
