"""GLSL of the passes over the whole picture: drawing the backdrop, and filtering the large picture down onto it."""

from __future__ import annotations

FULLSCREEN_VERTEX = """
#version 330
in vec2 in_corner; out vec2 corner;
void main() { corner = in_corner; gl_Position = vec4(in_corner, .99999, 1); }"""

# Kinds: -1 product shot, 0 plain wall, 1 studio, 2 room, 3 outdoors; all but the first two have a floor.
BACKDROP_FRAGMENT = """
#version 330
in vec2 corner; layout(location = 0) out vec4 colour;
uniform mat4 unproject; uniform vec3 eye; uniform int kind; uniform vec3 wall, floor_colour, upper;
uniform float distance_z, floor_y, shadow_strength; uniform vec4 detail; uniform sampler2D picture;
uniform mat4 shadow_view; uniform sampler2DShadow shadow_map;
// Soft: the share of 12 taps on a spiral; it widens with the distance from what throws the shadow, as real ones do.
float lit_share(vec3 p, float radius) {
  vec3 q = (shadow_view * vec4(p, 1)).xyz * .5 + .5;
  if (any(lessThan(q, vec3(0))) || any(greaterThan(q, vec3(1)))) return 1.;
  float lit = 0.; q.z -= .003;
  for (int k = 0; k < 12; k++) {
    float r = radius * sqrt((float(k) + .5) / 12.), a = 2.39996 * float(k);
    lit += texture(shadow_map, vec3(q.xy + r * vec2(cos(a), sin(a)), q.z));
  }
  return mix(1., lit / 12., shadow_strength);
}
// 1 within `half_width` of zero, one pixel soft.
float line(float x, float half_width) {
  float pixel = fwidth(x);
  return clamp((half_width - abs(x)) / max(pixel, 1e-4) + .5, 0., 1.) * min(1., 2. * half_width / max(pixel, 1e-4));
}
vec3 boards(vec3 p) {
  float x = p.x * detail.y * 2., board = floor(x), z = p.z * .07 + fract(board * .618) * 3.;
  float shade = .88 + .24 * fract(sin(board * 12.9898 + floor(z) * 78.233) * 43758.5453);
  shade = mix(shade, 1., smoothstep(.2, .8, fwidth(x)));
  float grain = texture(picture, vec2(p.x * .5, p.z * .04) * detail.x * 6.).r;
  float joint = max(line(fract(x + .5) - .5, .02), line(fract(z + .5) - .5, .002));
  return floor_colour * shade * (.86 + .28 * grain) * (1. - .35 * joint);
}
vec3 room_wall(vec3 p) {
  float h = p.y - floor_y;
  vec3 c = wall * (.9 + .06 * h / 10.) * (.97 + .06 * texture(picture, p.xy * .08).r);
  vec2 w = abs(p.xy - detail.zw) / vec2(2.6, 3.4); float frame = max(w.x, w.y);
  if (frame < 1.) {  // a frame, a mount, and two soft fields of the room's own colours
    vec3 n = texture(picture, (p.xy - detail.zw) * .05).rgb;
    vec3 art = mix(mix(wall, upper, .8), floor_colour, smoothstep(.42, .58, n.g));
    c = frame > .95 ? vec3(.16) : frame > .72 ? vec3(.86) : mix(art, wall * .5, smoothstep(.56, .6, n.b));
  }
  float board = clamp((1.1 - h) / max(fwidth(h), 1e-4) + .5, 0., 1.);
  c = mix(c, vec3(.78) * (.9 + .1 * smoothstep(0., 1., h)) * (1. - .3 * line(h - 1.05, .04)), board);
  return c * (1. - .35 * exp(-h * h * 12.)) * (1. - .12 * exp(-max(h - 1.1, 0.) * 1.5));
}
void main() {
  vec3 c;
  if (kind < 0) c = vec3(1);
  else if (kind == 0) c = wall;
  else {
    vec4 far = unproject * vec4(corner, 1, 1); vec3 d = normalize(far.xyz / far.w - eye);
    float to_floor = (floor_y - eye.y) / d.y, to_wall = (distance_z - eye.z) / d.z;
    if (to_floor > 0. && (to_floor < to_wall || to_wall < 0.)) {
      vec3 p = eye + d * to_floor; float fade = clamp((to_floor - 25.) / 60., 0., 1.);
      c = floor_colour;
      if (kind == 1) c = mix(floor_colour, wall, smoothstep(0., 1., fade));
      if (kind == 2) c = boards(p) * (1. - .3 * exp(-abs(p.z - distance_z) * 1.2));
      if (kind == 3) c = mix(floor_colour, wall, fade * .6) * (.8 + .4 * texture(picture, p.xz * .05).r);
      c *= (.5 + .5 * lit_share(p, .014)) * (1. - .45 * exp(-dot(p.xz, p.xz) * .12));
    } else {
      vec3 p = eye + d * to_wall; float h = (p.y - floor_y) / 20.;
      if (kind == 1) c = mix(wall, upper, clamp(h * .7, 0., 1.));
      else if (kind == 2) c = room_wall(p) * (.65 + .35 * lit_share(p, .03));
      else {
        c = textureLod(picture, p.xy * .022 + detail.zw, 2.).rgb; c = mix(c, upper, clamp(h * .8, 0., .85));
      }
    }
  }
  colour = vec4(pow(max(c, 0.), vec3(1. / 2.2)), 1);
}"""

# An exact box filter from the large picture to the small one, over the backdrop. Labels come from the pixel's centre.
RESOLVE_FRAGMENT = """
#version 330
in vec2 corner; layout(location = 0) out vec4 colour; layout(location = 1) out uint id;
uniform sampler2D large, backdrop; uniform usampler2D labels; uniform vec2 ratio;
void main() {
  ivec2 pixel = ivec2(gl_FragCoord.xy), last = textureSize(large, 0) - 1;
  vec2 low = vec2(pixel) * ratio, high = low + ratio; vec4 sum = vec4(0);
  for (int y = int(low.y); y < int(ceil(high.y)); y++)
    for (int x = int(low.x); x < int(ceil(high.x)); x++) {
      vec2 w = min(high, vec2(x, y) + 1.) - max(low, vec2(x, y));
      sum += w.x * w.y * texelFetch(large, min(ivec2(x, y), last), 0);
    }
  sum /= ratio.x * ratio.y;
  colour = vec4(sum.rgb + texelFetch(backdrop, pixel, 0).rgb * (1. - sum.a), 1);
  id = texelFetch(labels, min(ivec2((vec2(pixel) + .5) * ratio), last), 0).r;
}"""
