import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import loci.common.DebugTools;
import loci.formats.FileInfo;
import loci.formats.FormatTools;
import loci.formats.IFormatReader;
import loci.formats.ImageReader;
import loci.formats.MissingLibraryException;
import loci.formats.UnknownFormatException;
import loci.formats.UnsupportedCompressionException;
import loci.formats.in.DynamicMetadataOptions;
import loci.formats.in.MetadataLevel;

/**
 * Asks Bio-Formats which files a file belongs together with. One absolute path a line comes in, one JSON object a line
 * goes out: {"kind": "candidate", "reader": "...", "spw": false, "series": 1, "used": ["..."]}, or one of the kinds
 * "unknown", "unreadable", "missing-library", "broken" with "why".
 *
 * <p>Readers are set up as the OMERO importer sets them up: all but the one for ZIP files (which the importer leaves
 * out), metadata at the least level, resolutions not flattened; files that can initialise the reader come first.
 */
public final class UsedFiles {
    private UsedFiles() {
    }

    public static void main(String[] arguments) throws Exception {
        // Results alone go to standard output.
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        DebugTools.setRootLevel("OFF");
        var classes = ImageReader.getDefaultReaderClasses();
        classes.removeClass(loci.formats.in.ZipReader.class);
        ImageReader reader = new ImageReader(classes);
        reader.setFlattenedResolutions(false);
        reader.setMetadataFiltered(true);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String path = in.readLine(); path != null; path = in.readLine()) {
            out.println(look(reader, path));
        }
    }

    private static String look(ImageReader reader, String path) {
        File file = new File(path);
        if (!file.exists() || !file.canRead()) {
            return "{\"kind\": \"unreadable\"}";
        }
        try {
            try {
                reader.close();
                reader.setMetadataOptions(new DynamicMetadataOptions(MetadataLevel.MINIMUM));
                reader.setId(path);
                IFormatReader found = reader.getReader();
                boolean plate = Arrays.asList(found.getDomains()).contains(FormatTools.HCS_DOMAIN);
                List<String> used = new ArrayList<>();
                FileInfo[] all = reader.getAdvancedUsedFiles(false);
                for (boolean first : new boolean[] {true, false}) {
                    for (FileInfo info : all) {
                        if (info.usedToInitialize == first) {
                            used.add(quoted(info.filename));
                        }
                    }
                }
                return "{\"kind\": \"candidate\", \"reader\": " + quoted(found.getClass().getCanonicalName())
                    + ", \"spw\": " + plate + ", \"series\": " + reader.getSeriesCount()
                    + ", \"used\": [" + String.join(", ", used) + "]}";
            } finally {
                reader.close();
            }
        } catch (UnknownFormatException | UnsupportedCompressionException e) {
            return failed("unknown", e);
        } catch (MissingLibraryException e) {
            return failed("missing-library", e);
        } catch (Throwable e) {
            return failed("broken", e);
        }
    }

    private static String failed(String kind, Throwable e) {
        return "{\"kind\": \"" + kind + "\", \"why\": " + quoted(String.valueOf(e)) + "}";
    }

    private static String quoted(String text) {
        StringBuilder all = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                all.append('\\').append(c);
            } else if (c < ' ') {
                all.append(String.format("\\u%04x", (int) c));
            } else {
                all.append(c);
            }
        }
        return all.append('"').toString();
    }
}
