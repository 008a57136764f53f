"""The shaders: one vertex stage that materials extend, and one fragment stage per material."""

from __future__ import annotations

_SKY_AT = """
vec3 sky_at(vec3 d) {
  return max(sky[0] * 0.282095 + 0.488603 * (sky[1] * d.y + sky[2] * d.z + sky[3] * d.x)
    + 1.092548 * (sky[4] * d.x * d.y + sky[5] * d.y * d.z + sky[7] * d.x * d.z)
    + sky[6] * 0.315392 * (3.0 * d.z * d.z - 1.0) + sky[8] * 0.546274 * (d.x * d.x - d.y * d.y), vec3(0.0));
}
"""
VERTEX = (
    """
#version 330
in vec3 in_place; in vec3 in_normal;
in vec2 in_uv; in float in_follow; in vec3 in_extra;
in vec3 in_t0; in vec3 in_t1; in vec3 in_t2;
uniform mat3 turn; uniform vec3 pivot; uniform vec2 shift; uniform vec2 origin; uniform vec2 lens; uniform vec2 range;
uniform mat2 frame; uniform vec2 middle;
uniform mat4 to_light;
uniform vec3 sky[9]; uniform vec3 sky_head[9];
out vec3 place; out vec3 normal; out vec2 uv; out vec3 extra; out vec3 ambient; out float open_sky; out vec3 tangent;
out vec4 in_light; out vec3 mirror;
"""
    + _SKY_AT
    + """
void main() {
  vec3 moved = turn * (in_place - pivot) + pivot + vec3(shift, 0.0);
  place = mix(in_place, moved, in_follow);
  normal = mix(in_normal, turn * in_normal, in_follow);
  tangent = mix(in_extra, turn * in_extra, in_follow);
  uv = in_uv; extra = in_extra;
  float t[9] = float[9](in_t0.x, in_t0.y, in_t0.z, in_t1.x, in_t1.y, in_t1.z, in_t2.x, in_t2.y, in_t2.z);
  vec3 still = vec3(0.0), turned = vec3(0.0);
  if (in_follow < 1.0) for (int k = 0; k < 9; k++) still += t[k] * sky[k];
  if (in_follow > 0.0) for (int k = 0; k < 9; k++) turned += t[k] * sky_head[k];
  ambient = max(mix(still, turned, in_follow), vec3(0.0));
  open_sky = clamp(in_t0.x * 3.545, 0.0, 1.0);
  in_light = to_light * vec4(place, 1.0);
  vec3 eye_way = normalize(vec3(-place.xy, lens.x - place.z));
  mirror = sky_at(reflect(-eye_way, normalize(normal))) * open_sky * open_sky;
  float w = (lens.x - place.z) / (lens.x - lens.y);
  gl_Position = vec4(frame * (2.0 * (place.xy + origin)) + middle * w, range.x * w + range.y, w);
}
"""
)

SHADOW_VERTEX = """
#version 330
in vec3 in_place; in float in_follow;
uniform mat3 turn; uniform vec3 pivot; uniform vec2 shift; uniform mat4 to_light;
void main() {
  vec3 moved = turn * (in_place - pivot) + pivot + vec3(shift, 0.0);
  vec4 p = to_light * vec4(mix(in_place, moved, in_follow), 1.0);
  gl_Position = vec4(2.0 * p.xyz - 1.0, 1.0);
}
"""
SHADOW_FRAGMENT = "#version 330\nvoid main() {}\n"

_SCREEN = """
// Four thresholds in every two by two pixels: their average shows the coverage.
float screen() {
  vec2 cell = mod(floor(gl_FragCoord.xy), 2.0);
  return 0.35 + 0.2 * abs(cell.x - cell.y) + 0.1 * cell.y;
}
"""
_DEVELOPED = """
vec3 developed(vec3 c) {
  c *= exposure;
  c = sqrt(clamp(c * (1.0 + c * 0.16) / (1.0 + c * 0.62), 0.0, 1.0));
  return mix(c, c * c * (3.0 - 2.0 * c), 0.45);
}
"""
_LIT = """
// Share of the lamp's light that arrives: mean of four comparisons with the shadow map.
float lit() {
  if (any(lessThan(in_light.xyz, vec3(0.0))) || any(greaterThan(in_light.xyz, vec3(1.0)))) return 1.0;
  float r = softness, z = in_light.z - 0.004 - 0.6 * r;
  return 0.25 * (textureLod(shadow, vec3(in_light.xy + vec2(r, 0.45 * r), z), 0.0)
    + textureLod(shadow, vec3(in_light.xy + vec2(-0.45 * r, r), z), 0.0)
    + textureLod(shadow, vec3(in_light.xy + vec2(-r, -0.45 * r), z), 0.0)
    + textureLod(shadow, vec3(in_light.xy + vec2(0.45 * r, -r), z), 0.0));
}
"""
_COMMON = (
    """
#version 330
in vec3 place; in vec3 normal; in vec2 uv; in vec3 extra; in vec3 ambient; in float open_sky; in vec3 tangent;
in vec4 in_light; in vec3 mirror;
uniform vec3 lamp; uniform vec3 lamp_colour; uniform vec3 rim; uniform vec3 rim_colour;
uniform vec3 sky[9]; uniform vec2 lens; uniform float exposure; uniform float softness;
uniform sampler2DShadow shadow;
out vec4 colour;
vec3 toward_eye() { return normalize(vec3(-place.xy, lens.x - place.z)); }
"""
    + _LIT
    + _SKY_AT
    + _SCREEN
    + _DEVELOPED
)

# Meshes of skin are about as fine as the pixels, so light is computed at their vertices. The ``lean`` values say how
# the relief of the texture changes it in x and y of the picture.
SKIN_VERTEX = VERTEX.replace(
    "void main() {",
    """
uniform vec3 lamp; uniform vec3 lamp_colour; uniform vec3 rim; uniform vec3 rim_colour;
uniform float softness; uniform float oil;
uniform sampler2D finish; uniform sampler2DShadow shadow;
out vec3 lamp_light; out vec3 fill; out vec3 shine; out vec2 lamp_lean; out vec2 fill_lean; out vec2 shine_lean;
"""
    + _LIT
    + """
vec2 lean(vec3 n, vec3 d) { return n.xy * dot(n, d) - d.xy; }
void main() {""",
).replace(
    "  gl_Position",
    """
  vec3 surface = textureLod(finish, uv, 0.0).rgb;
  vec3 n = normalize(normal), v = eye_way;
  float shade = lit();
  vec3 wrap = vec3(0.34, 0.16, 0.10) * surface.b;
  vec3 soft = max((vec3(dot(n, lamp)) + wrap) / (1.0 + wrap), 0.0);
  vec3 curve = soft * soft * (3.0 - soft - soft) * 0.35 + soft * 0.65;
  vec3 scattered = vec3(sqrt(shade), shade, shade * shade * 0.3 + 0.7 * shade);
  lamp_light = lamp_colour * curve * mix(vec3(shade), scattered, 0.5 * surface.b);
  float steep = 2.1 * (soft.g - soft.g * soft.g) + 0.65;
  lamp_lean = 0.6 * steep / ((1.0 + wrap.g) * max(curve.g, 0.08)) * lean(n, lamp);
  fill = ambient + rim_colour * max((vec3(dot(n, rim)) + wrap) / (1.0 + wrap), 0.0) * open_sky;
  fill_lean = 1.6 * lean(n, vec3(0.0, -0.7, 0.4));
  float f = 0.035 + 0.40 * pow(1.0 - max(dot(n, v), 0.0), 5.0);
  float rough = surface.g;
  vec3 h = normalize(lamp + v);
  float nh = max(dot(n, h), 0.0), e = 2.0 / (rough * rough * rough * rough) - 2.0;
  float highlight = 0.75 * pow(nh, e) * (e + 2.0) * 0.125 + 0.52 * pow(nh, 9.0);
  vec3 direct = lamp_colour * max(dot(n, lamp), 0.0) * shade * highlight * f;
  float rim_highlight = pow(max(dot(n, normalize(rim + v)), 0.0), 14.0);
  shine = direct + mirror * f * 1.1 + rim_colour * open_sky * max(dot(n, rim), 0.0) * rim_highlight * 2.0 * f;
  shine_lean = min(e, 40.0) * direct.g / (shine.g + 1e-5) * lean(n, h);
  shine *= surface.r * oil;
  gl_Position""",
)

SKIN = (
    """
#version 330
in vec2 uv; in vec3 lamp_light; in vec3 fill; in vec3 shine; in vec2 lamp_lean; in vec2 fill_lean; in vec2 shine_lean;
uniform sampler2D paint; uniform float bump; uniform float pixels; uniform float exposure;
out vec4 colour;
"""
    + _DEVELOPED
    + """
void main() {
  vec4 base = texture(paint, uv);
  vec2 slope = vec2(dFdx(base.a), dFdy(base.a)) * (bump * pixels);
  vec3 light = lamp_light * clamp(1.0 + dot(slope, lamp_lean), 0.25, 1.9)
    + fill * clamp(1.0 + dot(slope, fill_lean), 0.3, 1.9);
  vec3 result = base.rgb * base.rgb * light + shine * exp2(clamp(dot(slope, shine_lean), -2.0, 2.0));
  colour = vec4(developed(result), 1.0);
}
"""
)

EYE = (
    _COMMON
    + """
uniform sampler2D paint; uniform float wet; uniform vec3 window; uniform vec3 window_colour;
void main() {
  // uv: horizontal and vertical distance from the pupil's axis, in radii of the eyeball.
  float r = length(uv);
  vec3 n0 = normalize(normal);
  vec4 base = texture(paint, uv * 0.5 + 0.5);
  vec3 albedo = base.rgb * base.rgb;
  vec3 v = toward_eye();
  float shade = lit();
  float cup = smoothstep(0.16, 0.5, open_sky);
  float nl = max(dot(n0, lamp) * 0.75 + 0.25, 0.0);
  float in_iris = smoothstep(0.48, 0.40, r);
  // The iris is a bowl under the cornea: lit from the far side.
  vec3 bowl = normalize(n0 + 1.2 * vec3(-uv, 0.0) * in_iris);
  nl = mix(nl, max(dot(bowl, lamp) * 0.8 + 0.2, 0.0), in_iris);
  vec3 light = lamp_colour * nl * shade * cup + ambient * 1.05;
  vec3 result = albedo * light;
  vec3 h = normalize(lamp + v);
  float glint = pow(max(dot(n0, h), 0.0), 420.0) * 3.0 + pow(max(dot(n0, h), 0.0), 60.0) * 0.05;
  vec3 catching = window_colour * smoothstep(0.982, 0.992, dot(n0, normalize(window + v)));
  float f = 0.03 + 0.5 * pow(1.0 - max(dot(n0, v), 0.0), 5.0);
  vec3 d = reflect(-v, n0);
  vec3 mirror = sky_at(d);
  vec3 reflected = (mirror * mirror / (mirror + 1.2)) * f * 0.9 * cup;
  result += wet * (catching * cup + lamp_colour * glint * (0.25 + 0.75 * shade) + reflected);
  colour = vec4(developed(result), 1.0);
}
"""
)

MOUTH = (
    _COMMON
    + """
// extra: colour; uv.x: depth inside the mouth (0 front .. 1 throat); uv.y: gloss.
uniform float light_in;
void main() {
  vec3 n = normalize(normal);
  if (!gl_FrontFacing) n = -n;
  vec3 v = toward_eye();
  float depth = clamp(uv.x, 0.0, 1.0);
  float inside = light_in * (1.0 - 0.90 * smoothstep(0.0, 0.6, depth));
  float shade = lit();
  vec3 ground = sky_at(normalize(vec3(0.0, 0.15, 1.0))) * 0.9 * max(n.z * 0.55 + 0.5, 0.15);
  vec3 light = ground + lamp_colour * max(dot(n, lamp) * 0.7 + 0.3, 0.0) * (0.3 + 0.7 * shade);
  // Light is reflected by lips, gums and tongue.
  light *= mix(vec3(1.03, 0.96, 0.91), vec3(1.30, 0.66, 0.55), smoothstep(0.0, 0.45, depth));
  vec3 albedo = extra * extra;
  vec3 result = albedo * light * inside;
  vec3 h = normalize(lamp + v);
  vec3 highlight = lamp_colour * pow(max(dot(n, h), 0.0), 60.0) * 0.5 * shade;
  result += (highlight + sky_at(reflect(-v, n)) * 0.05) * uv.y * inside;
  colour = vec4(developed(result), 1.0);
}
"""
)

HAIR_VERTEX = VERTEX.replace(
    "void main() {",
    """
uniform vec3 lamp; uniform vec3 lamp_colour; uniform vec3 rim; uniform vec3 rim_colour; uniform float gloss;
uniform sampler2DShadow shadow;
out vec3 diffuse; out vec3 shine;
void main() {""",
).replace(
    "  gl_Position",
    """
  vec3 n = normalize(normal), s = normalize(tangent + 1e-5), v = normalize(vec3(-place.xy, lens.x - place.z));
  float shade = 1.0;
  if (all(greaterThan(in_light.xyz, vec3(0.0))) && all(lessThan(in_light.xyz, vec3(1.0))))
    shade = 0.5 * (textureLod(shadow, vec3(in_light.xy, in_light.z - 0.012), 0.0)
      + textureLod(shadow, vec3(in_light.xy + 0.008, in_light.z - 0.016), 0.0));
  shade = 0.22 + 0.78 * shade;  // some light passes through other hair
  float lean = sqrt(max(1.0 - pow(dot(s, lamp), 2.0), 0.0));
  float face = clamp(dot(n, lamp) * 0.6 + 0.4, 0.0, 1.0);
  diffuse = lamp_colour * lean * face * shade * 0.9 + ambient
    + rim_colour * clamp(dot(n, rim) * 0.6 + 0.4, 0.0, 1.0) * open_sky;
  float th = dot(s, normalize(lamp + v)), tr = dot(s, normalize(rim + v));
  float ts = dot(s, normalize(v + vec3(0.0, -0.9, 0.1)));
  float first = 0.10 * pow(max(1.0 - th * th, 0.0), 40.0);
  float second = 0.05 * pow(max(1.0 - pow(th + 0.12, 2.0), 0.0), 12.0);
  shine = lamp_colour * shade * face * (first + second)
    + rim_colour * open_sky * 0.06 * pow(max(1.0 - tr * tr, 0.0), 24.0)
    + ambient * 0.10 * pow(max(1.0 - ts * ts, 0.0), 18.0);
  shine *= 1.7 * gloss;
  gl_Position""",
)

HAIR = (
    """
#version 330
// paint: r lightness, g coverage, b gloss of the strands.
in vec2 uv; in vec3 diffuse; in vec3 shine;
uniform sampler2D paint; uniform vec3 tint; uniform float cover; uniform float exposure;
out vec4 colour;
"""
    + _SCREEN
    + _DEVELOPED
    + """
void main() {
  vec4 strand = texture(paint, uv);
  if (strand.g * cover < screen()) discard;
  vec3 albedo = tint * tint * (0.35 + 1.3 * strand.r);
  vec3 result = albedo * diffuse + shine * (0.25 + 1.5 * strand.b * strand.r) * (0.5 + 1.5 * sqrt(albedo));
  colour = vec4(developed(result), 1.0);
}
"""
)

PLAIN = (
    _COMMON
    + """
uniform sampler2D paint; uniform float gloss; uniform float sharp; uniform float alpha; uniform float screened;
void main() {
  vec4 base = texture(paint, uv);
  if (screened > 0.5 && base.a < screen()) discard;
  vec3 n = normalize(normal);
  vec3 v = toward_eye();
  if (dot(n, v) < 0.0) n = -n;
  vec3 albedo = base.rgb * base.rgb;
  float shade = lit();
  vec3 light = lamp_colour * max(dot(n, lamp) * 0.9 + 0.1, 0.0) * shade + ambient
    + rim_colour * max(dot(n, rim), 0.0) * open_sky;
  vec3 result = albedo * light;
  vec3 h = normalize(lamp + v);
  float f = 0.04 + 0.6 * pow(1.0 - max(dot(n, v), 0.0), 5.0);
  vec3 highlight = lamp_colour * shade * pow(max(dot(n, h), 0.0), sharp) * (sharp + 2.0) * 0.02;
  result += gloss * (highlight + sky_at(reflect(-v, n)) * (f + 0.05));
  colour = vec4(developed(result), base.a * alpha);
}
"""
)

IDENTIFY = """
#version 330
in vec2 uv; uniform sampler2D paint; uniform int channel; uniform int first; out vec4 colour;
void main() {
  if (channel >= 0 && texture(paint, uv)[channel] < 0.35) discard;
  int id = first + gl_PrimitiveID + 1;
  colour = vec4(float(id & 255), float((id >> 8) & 255), float((id >> 16) & 255), 255.0) / 255.0;
}
"""

BACK_VERTEX = """
#version 330
in vec2 in_place; out vec2 uv;
void main() { uv = in_place; gl_Position = vec4(in_place * 2.0 - 1.0, 0.9999, 1.0); }
"""
BACK_FRAGMENT = """
#version 330
uniform sampler2D paint; in vec2 uv; out vec4 colour;
void main() { colour = vec4(texture(paint, uv).rgb, 1.0); }
"""

UNWRAP_VERTEX = """
#version 330
in vec2 in_uv; in vec3 in_place; out vec3 place;
void main() { place = in_place; gl_Position = vec4(in_uv * 2.0 - 1.0, 0.0, 1.0); }
"""
UNWRAP_FRAGMENT = "#version 330\nin vec3 place; out vec4 colour;\nvoid main() { colour = vec4(place, 1.0); }\n"

MATERIALS = {"skin": SKIN, "eye": EYE, "mouth": MOUTH, "hair": HAIR, "plain": PLAIN}
