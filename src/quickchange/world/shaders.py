"""GLSL of the surfaces, one fragment program each.

`fragment` puts the number of the surface in place of `SURFACE`.
"""

from __future__ import annotations

SURFACES = {"skin": 0, "hair": 1, "eyes": 2, "upper": 3, "lower": 4, "skirt": 5, "shoes": 6}
BONE_ROWS = 255  # rows of four floats, three per bone; a second set holds the lagging pose for skirts

VERTEX = """
#version 330
in vec3 in_position; in vec3 in_normal; in vec4 in_bones; in vec4 in_weights; in vec2 in_uv; in vec4 in_cut;
layout(std140) uniform Bones { vec4 rows[510]; };
uniform mat4 view; uniform float lag; uniform vec4 s0;
out vec3 world; out vec3 normal; out vec3 rest; out vec3 rest_normal; out vec2 uv; out vec4 cut;
void main() {
  vec4 a = vec4(0), b = vec4(0), c = vec4(0);
  // The lower half of a one-piece garment follows its waist at once and lags only further down.
  float late = s0.z > .5 ? lag * smoothstep(.0, .5, s0.x - in_cut.y) : lag;
  for (int k = 0; k < 4; k++) {
    int bone = int(in_bones[k]) * 3; float w = in_weights[k];
    if (late < 1.) { a += w * rows[bone]; b += w * rows[bone + 1]; c += w * rows[bone + 2]; }
    else { a += w * rows[bone + 255]; b += w * rows[bone + 256]; c += w * rows[bone + 257]; }
    if (late > 0. && late < 1.) {
      w *= late;
      a += w * (rows[bone + 255] - rows[bone]); b += w * (rows[bone + 256] - rows[bone + 1]);
      c += w * (rows[bone + 257] - rows[bone + 2]);
    }
  }
  vec4 p = vec4(in_position, 1);
  world = vec3(dot(a, p), dot(b, p), dot(c, p));
  normal = vec3(dot(a.xyz, in_normal), dot(b.xyz, in_normal), dot(c.xyz, in_normal));
  rest = in_position; rest_normal = in_normal; uv = in_uv; cut = in_cut;
  gl_Position = view * vec4(world, 1);
}"""

# The same formulas as quickchange.world.garments.Cut.
COVER = """
uniform vec4 u0, u1, u2, l0, s0;
float upper_cover(vec4 cut, vec3 n) {
  float d = min((u0.x - cut.x) * 5.0, (cut.y - u0.y) * 5.0), side = abs(cut.z);
  float depth = mix(u1.y, u0.w, smoothstep(-.3, .3, n.z));
  float down = max((1.02 - cut.y) / depth, 0.0), across = side / u0.z;
  float neck = u1.x < 0.5 ? length(vec2(across, down)) - 1.0 : across + down - 1.0;
  neck -= max(cut.y - 1.02, 0.0) * 8.0;  // above the shoulders the opening widens, so that no collar stands up
  d = min(d, neck * u0.z * 1.5);
  if (u2.z > 0.0) {
    float hole = length(vec2((side - u2.x) / u2.z, (cut.y - u2.y) / u2.w)) - 1.0;
    d = min(d, side > u2.x && (cut.y > u2.y || cut.x > .02) ? -1.0 : hole);
  }
  return d;
}
float lower_cover(vec4 cut) { return min((l0.x - cut.y) * 5.0, (l0.y - cut.w) * 8.0); }
float skirt_cover(vec4 cut) { return min((s0.x - cut.y) * 5.0, (s0.y - cut.w) * 8.0); }
"""

FRAGMENT_HEAD = (
    """
#version 330
#define SURFACE_KIND SURFACE
in vec3 world; in vec3 normal; in vec3 rest; in vec3 rest_normal; in vec2 uv; in vec4 cut;
layout(location = 0) out vec4 colour; layout(location = 1) out uint id;
uniform int label; uniform vec3 eye;
uniform vec3 key_direction, key_colour, sky, ground, fill_direction, fill_colour; uniform float shadow_strength;
uniform mat4 shadow_view; uniform sampler2DShadow shadow_map;
uniform sampler2D tile, chest, noise, masks;
uniform vec3 skin, lips, hair, iris;
uniform vec4 face;    // eye joint x, y, z; height of the soles
uniform vec4 fabric;  // tiles per decimetre, wrinkles, print half size, print height
uniform vec4 accent;  // linear colour, mode: 1 edges, 2 sleeves, 3 placket, 4 block
uniform vec2 wrap;    // horizontal fabric length per radian on torso and sleeves
uniform vec4 axis;    // torso axis z, shoulder joint x, y
"""
    + COVER
    + """
float angle_of(float y, float x) {
  float a = abs(x), b = abs(y), m = min(a, b) / max(max(a, b), 1e-5), s = m * m;
  float r = ((-.0464964749 * s + .15931422) * s - .327622764) * s * m + m;
  r = b > a ? 1.57079637 - r : r; r = x < 0. ? 3.14159274 - r : r;
  return y < 0. ? -r : r;
}
float lit_share(vec3 p) {
  vec3 q = (shadow_view * vec4(p, 1)).xyz * .5 + .5;
  if (any(lessThan(q, vec3(0))) || any(greaterThan(q, vec3(1)))) return 1.;
  q.z -= .004;
  float lit = texture(shadow_map, q);
  if (shadow_strength > .5) {  // only strong shadows show that one tap is hard-edged
    const vec3 near = vec3(.005, .002, 0), side = vec3(-near.y, near.x, 0);
    lit += texture(shadow_map, q + near) + texture(shadow_map, q - near);
    lit = (lit + texture(shadow_map, q + side) + texture(shadow_map, q - side)) / 5.;
  }
  return mix(1., lit, shadow_strength);
}
"""
)

SKIN = """
  if (u1.w > .5 && upper_cover(cut, rest_normal) > .25) discard;
  if (l0.w > .5 && lower_cover(cut) > .25) discard;
  if (s0.w > .5 && skirt_cover(cut) > .25) discard;
  vec3 m = texture(masks, uv).rgb;
  float grain = texture(noise, uv * 6.).r - .5;
  albedo = skin * (1. + .06 * grain);
  albedo = mix(albedo, lips, m.r * .85); albedo *= 1. - .45 * m.g;
  vec2 d = vec2(abs(rest.x) - face.x, rest.y - face.y);
  if (rest.z > face.z - .6) {
    float arch = .235 + .065 * cos((d.x - .12) * 6.);
    float brow = (1. - smoothstep(.03, .07, abs(d.y - arch))) * (1. - smoothstep(.14, .22, abs(d.x - .05)));
    albedo = mix(albedo, hair * .6, brow * .85);
    vec2 c = d - vec2(.18, -.55);
    albedo *= mix(vec3(1), vec3(1.06, .90, .90), exp(-dot(c, c) * 9.));
    albedo *= 1. - .18 * smoothstep(.30, .15, length(d * vec2(1., 1.6)));
  }
  wrap_light = .35; shine = .06; gloss = 18.; is_skin = true;
"""

HAIR = """
  float around = angle_of(rest.x, rest.z - face.z + .8);
  float fray = texture(noise, vec2(around * 1.5, rest.y * .2)).r;
  if (cut.x + (fray - .5) * .22 < 0.) discard;
  float strand = texture(noise, vec2(around * 4., rest.y * .10)).g;
  ambient *= .6 + .4 * clamp(cut.x * 3., 0., 1.);
  albedo = hair * (.65 + .7 * strand); shine = .18; gloss = 22.; wrap_light = .3;
  n = normalize(n + vec3(strand - .5, 0, strand - .5) * .35);
"""

EYES = """
  vec2 d = vec2(abs(rest.x) - face.x, rest.y - face.y); float r = length(d);
  albedo = vec3(.93, .91, .89);
  albedo = mix(albedo, iris, smoothstep(.085, .07, r)); albedo = mix(albedo, vec3(.02), smoothstep(.045, .03, r));
  albedo *= .6 + .4 * smoothstep(.1, -.02, d.y); shine = .4; gloss = 60.;
"""

# Fabric coordinates, in decimetres: length around the torso, sleeve or leg, and length along it.
FABRIC = """
  vec2 across = vec2(rest.x, rest.z - axis.x); float scale = wrap.x, along = rest.y;
#if SURFACE_KIND == 3
  if (sleeve) {
    vec3 q = rest - vec3(sign(rest.x) * axis.y, axis.z, -.1);
    across = vec2(q.z, (abs(q.x) + q.y) * .707); along = (q.y - abs(q.x)) * .707; scale = wrap.y;
  }
#elif SURFACE_KIND == 4
  if (cut.w >= .02) { across.x = rest.x - sign(rest.x) * (1.05 + .8 * cut.w); scale = wrap.x * .55; }
#endif
  float theta = angle_of(across.x, across.y); vec2 f = vec2(theta * scale, along);
  // The level comes from rest positions: fabric coordinates jump at seams, and their derivatives with them.
  float step_length = max(length(dFdx(rest)), length(dFdy(rest)));
  albedo = pow(textureLod(tile, f * fabric.x, log2(step_length * fabric.x * float(textureSize(tile, 0).x))).rgb,
               vec3(2.2));
  if (mark > .5) albedo = accent.rgb;
#if SURFACE_KIND == 3
  if (fabric.z > 0. && rest_normal.z > 0.) {
    vec2 p = vec2(rest.x, fabric.w - rest.y) / fabric.z * .5 + .5;
    if (all(greaterThan(p, vec2(0))) && all(lessThan(p, vec2(1)))) {
      vec4 s = texture(chest, p); albedo = mix(albedo, pow(s.rgb, vec3(2.2)), s.a);
    }
  }
#endif
  vec3 fold = texture(noise, f * vec2(.22, .13) + normal.xz * .03).rgb - .5;
  n = normalize(n + fabric.y * (fold * vec3(2.2, 1.8, 2.2)));
#if SURFACE_KIND == 5
  float turn = angle_of(rest.x, rest.z - axis.x);
  n = normalize(n + fabric.y * .55 * vec3(cos(turn), 0, -sin(turn)) * sin(turn * 11. + fold.x * 4.)
                * clamp(cut.w * 2.5 + .25, 0., 1.));
#endif
  ambient *= 1. - fabric.y * .5 * abs(fold.x);
  wrap_light = .25; shine = .03; gloss = 8.;
"""

UPPER = """
  float c = upper_cover(cut, rest_normal); if (c < 0.) discard;
  if (s0.z > .5 && cut.x < .02 && cut.y < s0.x - .10) discard;
  // The seam is a plane across the shoulder; below the arm, where the plane meets the torso, the arm's weight decides.
  bool sleeve = u2.z <= 0. && cut.x > .01 && (abs(rest.x) - axis.y - rest.y + axis.z) * .707 > .12;
  float mark = 0.;
  if (accent.w > .5 && accent.w < 1.5) mark = step(c, .16);
  else if (accent.w > 1.5 && accent.w < 2.5) mark = sleeve ? 1. : 0.;
  else if (accent.w > 2.5 && accent.w < 3.5) mark = rest_normal.z > 0. ? step(abs(rest.x), .06) : 0.;
  else if (accent.w > 3.5) mark = step(cut.y, .45);
  ambient *= smoothstep(-.02, .10, c) * .15 + .85;
"""

LOWER = """
  float c = lower_cover(cut); if (c < 0.) discard;
  if (u1.w > .5 && cut.x < .02 && upper_cover(cut, rest_normal) > .3) discard;
  float mark = accent.w > 3.5 ? step(.35, cut.w) : accent.w > .5 ? step(c, .10) : 0.;
  ambient *= smoothstep(-.02, .10, c) * .25 + .75;
  if (rest_normal.z > .2 && abs(rest.x) < .02 && cut.w < .0) ambient *= .7;
"""

SKIRT = """
  float c = skirt_cover(cut); if (c < 0.) discard;
  if (s0.z < .5 && u1.w > .5 && cut.y > u0.y) discard;
  if (s0.z > .5) c = (s0.y - cut.w) * 8.;  // a one-piece garment has no edge at the waist
  float mark = accent.w > .5 && accent.w < 1.5 ? step(c, .12) : accent.w > 3.5 ? max(s0.z, step(.5 * s0.y, cut.w)) : 0.;
  ambient *= smoothstep(-.02, .08, c) * .25 + .75;
"""

SHOES = """
  if (cut.w < .955) discard;
  albedo = accent.rgb; shine = .3; gloss = 30.; if (rest.y < face.w + .12) albedo = vec3(.85);
"""

BODIES = {"skin": SKIN, "hair": HAIR, "eyes": EYES, "upper": UPPER + FABRIC, "lower": LOWER + FABRIC,
          "skirt": SKIRT + FABRIC, "shoes": SHOES}  # fmt: skip

FRAGMENT_TAIL = """
  if (back) { albedo *= .55; ambient *= .6; }
  float lit = lit_share(world + n * .06), cosine = dot(n, key_direction);
  vec3 light = key_colour * max(0., (cosine + wrap_light) / (1. + wrap_light)) * lit;
  if (is_skin) light += key_colour * vec3(.22, .05, .03) * max(0., 1. - abs(cosine) * 2.2) * lit * .6;
  light += mix(ground, sky, n.y * .5 + .5) * ambient + fill_colour * max(0., dot(n, fill_direction) * .8 + .2);
  vec3 c3 = albedo * light;
  c3 += shine * key_colour * pow(max(0., dot(n, normalize(key_direction + to_eye))), gloss) * lit * (gloss * .04 + .3);
  c3 += pow(1. - max(0., dot(n, to_eye)), 3.) * .08 * sky * (.3 + albedo);
  c3 = c3 / (1. + .10 * c3);
  colour = vec4(pow(max(c3, 0.), vec3(1. / 2.2)), 1.); id = uint(label);
}"""


def fragment(surface: str) -> str:
    """Source of the fragment shader for `surface`, a key of `SURFACES`."""
    return (
        FRAGMENT_HEAD.replace("SURFACE_KIND SURFACE", f"SURFACE_KIND {SURFACES[surface]}")
        + """
void main() {
  vec3 n = normalize(normal), to_eye = normalize(eye - world), albedo = vec3(.5);
  float shine = .05, gloss = 12., wrap_light = .15, ambient = 1.; bool is_skin = false;
  bool back = !gl_FrontFacing; if (back) n = -n;
"""
        + BODIES[surface]
        + FRAGMENT_TAIL
    )


SHADOW_FRAGMENT = (
    """
#version 330
in vec3 world; in vec3 normal; in vec3 rest; in vec3 rest_normal; in vec2 uv; in vec4 cut;
uniform int surface;
"""
    + COVER
    + """
void main() {
  if (surface == 3 && upper_cover(cut, rest_normal) < 0.) discard;
  if (surface == 4 && lower_cover(cut) < 0.) discard;
  if (surface == 5 && skirt_cover(cut) < 0.) discard;
}"""
)
