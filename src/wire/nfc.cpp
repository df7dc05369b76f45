// Tables from the Unicode Character Database 14.0: what has a canonical decomposition and is not
// excluded from composition, by its second character; and what NFC replaces.
#include "wire/nfc.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace turnpike::stun {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

constexpr std::array kReplaced{
    Range{0x0340, 0x0341},   Range{0x0343, 0x0344},   Range{0x0374, 0x0374},
    Range{0x037E, 0x037E},   Range{0x0387, 0x0387},   Range{0x0958, 0x095F},
    Range{0x09DC, 0x09DD},   Range{0x09DF, 0x09DF},   Range{0x0A33, 0x0A33},
    Range{0x0A36, 0x0A36},   Range{0x0A59, 0x0A5B},   Range{0x0A5E, 0x0A5E},
    Range{0x0B5C, 0x0B5D},   Range{0x0F43, 0x0F43},   Range{0x0F4D, 0x0F4D},
    Range{0x0F52, 0x0F52},   Range{0x0F57, 0x0F57},   Range{0x0F5C, 0x0F5C},
    Range{0x0F69, 0x0F69},   Range{0x0F73, 0x0F73},   Range{0x0F75, 0x0F76},
    Range{0x0F78, 0x0F78},   Range{0x0F81, 0x0F81},   Range{0x0F93, 0x0F93},
    Range{0x0F9D, 0x0F9D},   Range{0x0FA2, 0x0FA2},   Range{0x0FA7, 0x0FA7},
    Range{0x0FAC, 0x0FAC},   Range{0x0FB9, 0x0FB9},   Range{0x1F71, 0x1F71},
    Range{0x1F73, 0x1F73},   Range{0x1F75, 0x1F75},   Range{0x1F77, 0x1F77},
    Range{0x1F79, 0x1F79},   Range{0x1F7B, 0x1F7B},   Range{0x1F7D, 0x1F7D},
    Range{0x1FBB, 0x1FBB},   Range{0x1FBE, 0x1FBE},   Range{0x1FC9, 0x1FC9},
    Range{0x1FCB, 0x1FCB},   Range{0x1FD3, 0x1FD3},   Range{0x1FDB, 0x1FDB},
    Range{0x1FE3, 0x1FE3},   Range{0x1FEB, 0x1FEB},   Range{0x1FEE, 0x1FEF},
    Range{0x1FF9, 0x1FF9},   Range{0x1FFB, 0x1FFB},   Range{0x1FFD, 0x1FFD},
    Range{0x2000, 0x2001},   Range{0x2126, 0x2126},   Range{0x212A, 0x212B},
    Range{0x2329, 0x232A},   Range{0x2ADC, 0x2ADC},   Range{0xF900, 0xFA0D},
    Range{0xFA10, 0xFA10},   Range{0xFA12, 0xFA12},   Range{0xFA15, 0xFA1E},
    Range{0xFA20, 0xFA20},   Range{0xFA22, 0xFA22},   Range{0xFA25, 0xFA26},
    Range{0xFA2A, 0xFA6D},   Range{0xFA70, 0xFAD9},   Range{0xFB1D, 0xFB1D},
    Range{0xFB1F, 0xFB1F},   Range{0xFB2A, 0xFB36},   Range{0xFB38, 0xFB3C},
    Range{0xFB3E, 0xFB3E},   Range{0xFB40, 0xFB41},   Range{0xFB43, 0xFB44},
    Range{0xFB46, 0xFB4E},   Range{0x1D15E, 0x1D164}, Range{0x1D1BB, 0x1D1C0},
    Range{0x2F800, 0x2FA1D},
};

// `mark` makes one character with each of `bases`.
struct Composing {
  char32_t mark;
  std::u32string_view bases;
};

constexpr std::array kComposing{
    Composing{0x0300,
              U"AEINOUWYaeinouwy\u00A8\u00C2\u00CA\u00D4\u00DC\u00E2\u00EA\u00F4\u00FC"
              U"\u0102\u0103\u0112\u0113\u014C\u014D\u01A0\u01A1\u01AF\u01B0\u0391\u0395"
              U"\u0397\u0399\u039F\u03A5\u03A9\u03B1\u03B5\u03B7\u03B9\u03BF\u03C5\u03C9"
              U"\u03CA\u03CB\u0415\u0418\u0435\u0438\u1F00\u1F01\u1F08\u1F09\u1F10\u1F11"
              U"\u1F18\u1F19\u1F20\u1F21\u1F28\u1F29\u1F30\u1F31\u1F38\u1F39\u1F40\u1F41"
              U"\u1F48\u1F49\u1F50\u1F51\u1F59\u1F60\u1F61\u1F68\u1F69\u1FBF\u1FFE"},
    Composing{0x0301,
              U"ACEGIKLMNOPRSUWYZacegiklmnoprsuwyz\u00A8\u00C2\u00C5\u00C6\u00C7\u00CA"
              U"\u00CF\u00D4\u00D5\u00D8\u00DC\u00E2\u00E5\u00E6\u00E7\u00EA\u00EF\u00F4"
              U"\u00F5\u00F8\u00FC\u0102\u0103\u0112\u0113\u014C\u014D\u0168\u0169\u01A0"
              U"\u01A1\u01AF\u01B0\u0391\u0395\u0397\u0399\u039F\u03A5\u03A9\u03B1\u03B5"
              U"\u03B7\u03B9\u03BF\u03C5\u03C9\u03CA\u03CB\u03D2\u0413\u041A\u0433\u043A"
              U"\u1F00\u1F01\u1F08\u1F09\u1F10\u1F11\u1F18\u1F19\u1F20\u1F21\u1F28\u1F29"
              U"\u1F30\u1F31\u1F38\u1F39\u1F40\u1F41\u1F48\u1F49\u1F50\u1F51\u1F59\u1F60"
              U"\u1F61\u1F68\u1F69\u1FBF\u1FFE"},
    Composing{0x0302, U"ACEGHIJOSUWYZaceghijosuwyz\u1EA0\u1EA1\u1EB8\u1EB9\u1ECC\u1ECD"},
    Composing{0x0303,
              U"AEINOUVYaeinouvy\u00C2\u00CA\u00D4\u00E2\u00EA\u00F4\u0102\u0103\u01A0"
              U"\u01A1\u01AF\u01B0"},
    Composing{0x0304,
              U"AEGIOUYaegiouy\u00C4\u00C6\u00D5\u00D6\u00DC\u00E4\u00E6\u00F5\u00F6"
              U"\u00FC\u01EA\u01EB\u0226\u0227\u022E\u022F\u0391\u0399\u03A5\u03B1\u03B9"
              U"\u03C5\u0418\u0423\u0438\u0443\u1E36\u1E37\u1E5A\u1E5B"},
    Composing{0x0306,
              U"AEGIOUaegiou\u0228\u0229\u0391\u0399\u03A5\u03B1\u03B9\u03C5\u0410\u0415"
              U"\u0416\u0418\u0423\u0430\u0435\u0436\u0438\u0443\u1EA0\u1EA1"},
    Composing{0x0307,
              U"ABCDEFGHIMNOPRSTWXYZabcdefghmnoprstwxyz\u015A\u015B\u0160\u0161\u017F"
              U"\u1E62\u1E63"},
    Composing{0x0308,
              U"AEHIOUWXYaehiotuwxy\u00D5\u00F5\u016A\u016B\u0399\u03A5\u03B9\u03C5"
              U"\u03D2\u0406\u0410\u0415\u0416\u0417\u0418\u041E\u0423\u0427\u042B\u042D"
              U"\u0430\u0435\u0436\u0437\u0438\u043E\u0443\u0447\u044B\u044D\u0456\u04D8"
              U"\u04D9\u04E8\u04E9"},
    Composing{0x0309,
              U"AEIOUYaeiouy\u00C2\u00CA\u00D4\u00E2\u00EA\u00F4\u0102\u0103\u01A0\u01A1"
              U"\u01AF\u01B0"},
    Composing{0x030A, U"AUauwy"},
    Composing{0x030B, U"OUou\u0423\u0443"},
    Composing{0x030C, U"ACDEGHIKLNORSTUZacdeghijklnorstuz\u00DC\u00FC\u01B7\u0292"},
    Composing{0x030F, U"AEIORUaeioru\u0474\u0475"},
    Composing{0x0311, U"AEIORUaeioru"},
    Composing{0x0313,
              U"\u0391\u0395\u0397\u0399\u039F\u03A9\u03B1\u03B5\u03B7\u03B9\u03BF\u03C1"
              U"\u03C5\u03C9"},
    Composing{0x0314,
              U"\u0391\u0395\u0397\u0399\u039F\u03A1\u03A5\u03A9\u03B1\u03B5\u03B7\u03B9"
              U"\u03BF\u03C1\u03C5\u03C9"},
    Composing{0x031B, U"OUou"},
    Composing{0x0323, U"ABDEHIKLMNORSTUVWYZabdehiklmnorstuvwyz\u01A0\u01A1\u01AF\u01B0"},
    Composing{0x0324, U"Uu"},
    Composing{0x0325, U"Aa"},
    Composing{0x0326, U"STst"},
    Composing{0x0327, U"CDEGHKLNRSTcdeghklnrst"},
    Composing{0x0328, U"AEIOUaeiou"},
    Composing{0x032D, U"DELNTUdelntu"},
    Composing{0x032E, U"Hh"},
    Composing{0x0330, U"EIUeiu"},
    Composing{0x0331, U"BDKLNRTZbdhklnrtz"},
    Composing{0x0338,
              U"<=>\u2190\u2192\u2194\u21D0\u21D2\u21D4\u2203\u2208\u220B\u2223\u2225"
              U"\u223C\u2243\u2245\u2248\u224D\u2261\u2264\u2265\u2272\u2273\u2276\u2277"
              U"\u227A\u227B\u227C\u227D\u2282\u2283\u2286\u2287\u2291\u2292\u22A2\u22A8"
              U"\u22A9\u22AB\u22B2\u22B3\u22B4\u22B5"},
    Composing{0x0342,
              U"\u00A8\u03B1\u03B7\u03B9\u03C5\u03C9\u03CA\u03CB\u1F00\u1F01\u1F08\u1F09"
              U"\u1F20\u1F21\u1F28\u1F29\u1F30\u1F31\u1F38\u1F39\u1F50\u1F51\u1F59\u1F60"
              U"\u1F61\u1F68\u1F69\u1FBF\u1FFE"},
    Composing{0x0345,
              U"\u0391\u0397\u03A9\u03AC\u03AE\u03B1\u03B7\u03C9\u03CE\u1F00\u1F01\u1F02"
              U"\u1F03\u1F04\u1F05\u1F06\u1F07\u1F08\u1F09\u1F0A\u1F0B\u1F0C\u1F0D\u1F0E"
              U"\u1F0F\u1F20\u1F21\u1F22\u1F23\u1F24\u1F25\u1F26\u1F27\u1F28\u1F29\u1F2A"
              U"\u1F2B\u1F2C\u1F2D\u1F2E\u1F2F\u1F60\u1F61\u1F62\u1F63\u1F64\u1F65\u1F66"
              U"\u1F67\u1F68\u1F69\u1F6A\u1F6B\u1F6C\u1F6D\u1F6E\u1F6F\u1F70\u1F74\u1F7C"
              U"\u1FB6\u1FC6\u1FF6"},
    Composing{0x0653, U"\u0627"},
    Composing{0x0654, U"\u0627\u0648\u064A\u06C1\u06D2\u06D5"},
    Composing{0x0655, U"\u0627"},
    Composing{0x093C, U"\u0928\u0930\u0933"},
    Composing{0x09BE, U"\u09C7"},
    Composing{0x09D7, U"\u09C7"},
    Composing{0x0B3E, U"\u0B47"},
    Composing{0x0B56, U"\u0B47"},
    Composing{0x0B57, U"\u0B47"},
    Composing{0x0BBE, U"\u0BC6\u0BC7"},
    Composing{0x0BD7, U"\u0B92\u0BC6"},
    Composing{0x0C56, U"\u0C46"},
    Composing{0x0CC2, U"\u0CC6"},
    Composing{0x0CD5, U"\u0CBF\u0CC6\u0CCA"},
    Composing{0x0CD6, U"\u0CC6"},
    Composing{0x0D3E, U"\u0D46\u0D47"},
    Composing{0x0D57, U"\u0D46"},
    Composing{0x0DCA, U"\u0DD9\u0DDC"},
    Composing{0x0DCF, U"\u0DD9"},
    Composing{0x0DDF, U"\u0DD9"},
    Composing{0x102E, U"\u1025"},
    Composing{0x1B35, U"\u1B05\u1B07\u1B09\u1B0B\u1B0D\u1B11\u1B3A\u1B3C\u1B3E\u1B3F\u1B42"},
    Composing{0x3099,
              U"\u3046\u304B\u304D\u304F\u3051\u3053\u3055\u3057\u3059\u305B\u305D\u305F"
              U"\u3061\u3064\u3066\u3068\u306F\u3072\u3075\u3078\u307B\u309D\u30A6\u30AB"
              U"\u30AD\u30AF\u30B1\u30B3\u30B5\u30B7\u30B9\u30BB\u30BD\u30BF\u30C1\u30C4"
              U"\u30C6\u30C8\u30CF\u30D2\u30D5\u30D8\u30DB\u30EF\u30F0\u30F1\u30F2\u30FD"},
    Composing{0x309A, U"\u306F\u3072\u3075\u3078\u307B\u30CF\u30D2\u30D5\u30D8\u30DB"},
    Composing{0x110BA, U"\U00011099\U0001109B\U000110A5"},
    Composing{0x11127, U"\U00011131\U00011132"},
    Composing{0x1133E, U"\U00011347"},
    Composing{0x11357, U"\U00011347"},
    Composing{0x114B0, U"\U000114B9"},
    Composing{0x114BA, U"\U000114B9"},
    Composing{0x114BD, U"\U000114B9"},
    Composing{0x115AF, U"\U000115B8\U000115B9"},
    Composing{0x11930, U"\U00011935"},
};

}  // namespace

bool is_composed(char32_t before, char32_t code) {
  // Nothing before U+0300 is replaced or composes.
  if (code < 0x0300) return true;
  const auto replaced =
      std::upper_bound(kReplaced.begin(), kReplaced.end(), code,
                       [](char32_t c, const Range& range) { return c < range.first; });
  if (replaced != kReplaced.begin() && code <= std::prev(replaced)->last) return false;
  const auto mark = std::lower_bound(kComposing.begin(), kComposing.end(), code,
                                     [](const Composing& one, char32_t c) { return one.mark < c; });
  return mark == kComposing.end() || mark->mark != code ||
         mark->bases.find(before) == std::u32string_view::npos;
}

}  // namespace turnpike::stun
